//! Cutting pictures into tiles, as Idefics 3 and `SmolVLM` do it: what is small in a picture is seen in a tile, what is
//! large in the whole of it, made as small as a tile.

use super::{ImageError, Picture, Resample};

/// How pictures are cut.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tiling {
    /// What the longer side becomes first, if it does.
    pub(super) longest: Option<u32>,
    /// Both sides of a tile.
    pub(super) tile: u32,
    pub(super) filter: Resample,
    /// Whether there are tiles beside the whole.
    pub(super) splits: bool,
}

/// A picture cut.
#[derive(Debug)]
pub(crate) struct Tiles {
    /// Row by row, and the whole at the end.
    pub(crate) pictures: Vec<Picture>,
    /// 0 where there is only the whole, as there are columns.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// No side is longer.
const LONGEST: u32 = 4096;

impl Tiling {
    /// Both sides of a tile.
    pub(crate) fn tile(&self) -> u32 {
        self.tile
    }

    /// The most tiles of a picture, the whole among them.
    pub(crate) fn most(&self) -> usize {
        let side = self.most_a_side();
        if self.splits { side * side + 1 } else { 1 }
    }

    /// The most rows of tiles, and columns; 0 where there is only the whole.
    pub(crate) fn most_a_side(&self) -> usize {
        if !self.splits {
            return 0;
        }
        // The shorter side becomes even, and so one longer than an odd longer one.
        let longest = self.longest.unwrap_or(LONGEST).next_multiple_of(2).min(LONGEST);
        longest.div_ceil(self.tile) as usize
    }

    /// The tiles of a picture, each `tile` by `tile` pixels.
    ///
    /// # Errors
    ///
    /// [`ImageError`] if a picture in between would be larger than any that is looked at, or there would be more than
    /// [`most`](Self::most) tiles.
    pub(crate) fn cut(&self, picture: &Picture) -> Result<Tiles, ImageError> {
        let scaled = self.longest.map(|longest| {
            let (height, width) = scaled(picture.height(), picture.width(), longest);
            picture.resize(width, height, self.filter)
        });
        let scaled = scaled.transpose()?;
        let picture = scaled.as_ref().unwrap_or(picture);
        let tile = self.tile;
        if !self.splits {
            let pictures = vec![picture.resize(tile, tile, self.filter)?];
            return Ok(Tiles { pictures, rows: 0, columns: 0 });
        }
        let (height, width) = whole_tiles(picture.height(), picture.width(), tile);
        if (height, width) == (tile, tile) {
            let picture = picture.resize(width, height, self.filter)?;
            return Ok(Tiles { pictures: vec![picture], rows: 0, columns: 0 });
        }
        let (rows, columns) = (height / tile, width / tile);
        let (tiles, most) = (rows as usize * columns as usize + 1, self.most());
        if tiles > most {
            return Err(ImageError::TooManyTiles { tiles, most });
        }
        let picture = picture.resize(width, height, self.filter)?;
        let corners = (0..rows).flat_map(|row| (0..columns).map(move |column| (row * tile, column * tile)));
        let mut pictures: Vec<Picture> =
            corners.map(|(top, left)| picture.part(left, top, tile, tile)).collect();
        pictures.push(picture.resize(tile, tile, self.filter)?);
        Ok(Tiles { pictures, rows: rows as usize, columns: columns as usize })
    }
}

/// Sides of the same shape, the longer one `longest`, the other one even, neither over [`LONGEST`]. What is left of a
/// pixel is cut off.
fn scaled(height: u32, width: u32, longest: u32) -> (u32, u32) {
    let even = |side: u32| side + side % 2;
    let aspect = f64::from(width) / f64::from(height);
    let (height, width) = if width >= height {
        (even((f64::from(longest) / aspect) as u32).max(1), longest)
    } else {
        (longest, even((f64::from(longest) * aspect) as u32).max(1))
    };
    let aspect = f64::from(width) / f64::from(height);
    if width >= height && width > LONGEST {
        (((f64::from(LONGEST) / aspect) as u32).max(1), LONGEST)
    } else if height > width && height > LONGEST {
        (LONGEST, ((f64::from(LONGEST) * aspect) as u32).max(1))
    } else {
        (height, width)
    }
}

/// The sides in whole tiles: the longer one rounded up, and the other one as its shape then wants it, rounded up.
fn whole_tiles(height: u32, width: u32, tile: u32) -> (u32, u32) {
    let up = |side: u32| side.div_ceil(tile) * tile;
    let aspect = f64::from(width) / f64::from(height);
    let (height, width) = if width >= height {
        let width = up(width);
        (up((f64::from(width) / aspect) as u32), width)
    } else {
        let height = up(height);
        (height, up((f64::from(height) * aspect) as u32))
    };
    (height.max(tile), width.max(tile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_parts_of_the_picture_row_by_row() {
        let pixels: Vec<u8> = (0..4 * 6).flat_map(|at| [at, at, at]).collect();
        let picture = Picture::new(6, 4, pixels).unwrap();
        let tiling = Tiling { longest: None, tile: 2, filter: Resample::Nearest, splits: true };
        let tiles = tiling.cut(&picture).unwrap();
        assert_eq!((tiles.rows, tiles.columns, tiles.pictures.len()), (2, 3, 7));
        let fifth: Vec<u8> = tiles.pictures[4].rgb().iter().step_by(3).copied().collect();
        assert_eq!(fifth, [14, 15, 20, 21]);
        let whole = Tiling { splits: false, ..tiling.clone() }.cut(&picture).unwrap();
        assert_eq!((whole.rows, whole.pictures.len(), whole.pictures[0].width()), (0, 1, 2));
        let small = Tiling { tile: 8, ..tiling }.cut(&picture).unwrap();
        assert_eq!((small.rows, small.columns, small.pictures.len()), (0, 0, 1));
    }

    #[test]
    fn more_tiles_than_there_may_be_are_refused() {
        let tiling = Tiling { longest: None, tile: 4096, filter: Resample::Nearest, splits: true };
        let picture = Picture::new(8192, 2, vec![7; 3 * 2 * 8192]).unwrap();
        let refused = tiling.cut(&picture).unwrap_err();
        assert!(matches!(refused, ImageError::TooManyTiles { tiles: 3, most: 2 }), "{refused}");
        let odd = Tiling { longest: Some(3), tile: 3, ..tiling };
        let square = Picture::new(5, 5, vec![7; 75]).unwrap();
        assert_eq!((odd.most(), odd.cut(&square).unwrap().pictures.len()), (5, 5));
    }

    #[test]
    fn sides_keep_their_shape() {
        assert_eq!(scaled(43, 61, 48), (34, 48));
        assert_eq!(scaled(97, 3, 48), (48, 2), "even, and at least one pixel");
        assert_eq!(scaled(1, 8000, 5000), (1, 4096));
        assert_eq!(whole_tiles(34, 48, 24), (48, 48));
        assert_eq!(whole_tiles(1, 100, 24), (24, 120));
    }
}
