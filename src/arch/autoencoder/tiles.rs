//! Large pictures in parts, so that memory does not grow with them.
//!
//! Parts overlap, and run into each other where they do. A norm sees its part only, so colors may drift from one to
//! the next: a picture is cut where it would not fit otherwise. Reference: `tiled_decode` of `AutoencoderKL` of
//! Hugging Face diffusers.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::config::COLORS;
use super::network::Autoencoder;
use crate::kernels::PixelGrid;

/// Parts of so many latents a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    /// At least 4, so that there is an overlap.
    pub(crate) side: usize,
}

impl Tiles {
    /// From the beginning of a part to that of the next: they overlap by a quarter.
    fn step(self) -> usize {
        self.side * 3 / 4
    }

    /// Where the parts are along a side of so many latents.
    fn along(self, length: usize) -> impl Iterator<Item = Range<usize>> + Clone {
        (0..length).step_by(self.step()).map(move |start| start..(start + self.side).min(length))
    }

    /// The largest part of such a picture.
    pub(crate) fn largest(self, grid: PixelGrid) -> PixelGrid {
        PixelGrid { height: grid.height.min(self.side), width: grid.width.min(self.side), ..grid }
    }
}

/// A part of each picture, decoded.
struct Part {
    size: PixelGrid,
    /// `[rows, colors]`
    colors: Vec<f32>,
}

impl Autoencoder {
    /// As [`decode`](Self::decode), part by part.
    pub(crate) fn decode_in_tiles(
        &self,
        latents: &Tensor,
        grid: PixelGrid,
        tiles: Tiles,
    ) -> Result<(Tensor, PixelGrid)> {
        if tiles.side < 4 {
            bail!("parts of {} latents a side, and at least 4 are needed", tiles.side);
        }
        let reduction = self.reduction();
        let whole = PixelGrid { height: grid.height * reduction, width: grid.width * reduction, ..grid };
        let (blend, step) = ((tiles.side - tiles.step()) * reduction, tiles.step() * reduction);
        let mut picture = vec![0.0; whole.rows() * COLORS];
        let mut above: Vec<Part> = Vec::new();
        for (row, rows) in tiles.along(grid.height).enumerate() {
            let mut line: Vec<Part> = Vec::new();
            for (column, columns) in tiles.along(grid.width).enumerate() {
                let mut part = self.part(latents, grid, &rows, &columns)?;
                if let Some(above) = above.get(column) {
                    part.follow_down(above, blend);
                }
                if let Some(left) = line.last() {
                    part.follow_right(left, blend);
                }
                part.write((row * step, column * step), step, &mut picture, whole);
                line.push(part);
            }
            above = line;
        }
        Ok((Tensor::from_vec(picture, (whole.rows(), COLORS), latents.device())?, whole))
    }

    fn part(
        &self,
        latents: &Tensor,
        grid: PixelGrid,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Result<Part> {
        let size = PixelGrid { height: rows.len(), width: columns.len(), ..grid };
        let shape = (grid.pictures, grid.height, grid.width, latents.dim(1)?);
        let cut = latents.reshape(shape)?.narrow(1, rows.start, rows.len())?;
        let cut = cut.narrow(2, columns.start, columns.len())?.contiguous()?.flatten_to(2)?;
        let (colors, size) = self.decode(&cut, size)?;
        Ok(Part { size, colors: colors.flatten_all()?.to_vec1()? })
    }
}

impl Part {
    /// Where the colors of a pixel are.
    fn at(&self, picture: usize, y: usize, x: usize) -> Range<usize> {
        let first = (picture * self.size.pixels() + y * self.size.width + x) * COLORS;
        first..first + COLORS
    }

    /// Runs from the bottom of `above` into this one, over up to so many rows.
    fn follow_down(&mut self, above: &Part, rows: usize) {
        let rows = rows.min(above.size.height).min(self.size.height);
        for picture in 0..self.size.pictures {
            for y in 0..rows {
                for x in 0..self.size.width {
                    let from = above.at(picture, above.size.height - rows + y, x);
                    self.run(picture, (y, x), &above.colors[from], y as f32 / rows as f32);
                }
            }
        }
    }

    /// Runs from the right of `left` into this one, over up to so many columns.
    fn follow_right(&mut self, left: &Part, columns: usize) {
        let columns = columns.min(left.size.width).min(self.size.width);
        for picture in 0..self.size.pictures {
            for y in 0..self.size.height {
                for x in 0..columns {
                    let from = left.at(picture, y, left.size.width - columns + x);
                    self.run(picture, (y, x), &left.colors[from], x as f32 / columns as f32);
                }
            }
        }
    }

    /// Gives a pixel so much of its own color, and the rest of another's.
    fn run(&mut self, picture: usize, (y, x): (usize, usize), other: &[f32], own: f32) {
        let at = self.at(picture, y, x);
        for (color, other) in self.colors[at].iter_mut().zip(other) {
            *color = other * (1.0 - own) + *color * own;
        }
    }

    /// Puts the part's first `most` rows and columns where they belong.
    fn write(&self, (top, left): (usize, usize), most: usize, picture: &mut [f32], whole: PixelGrid) {
        let width = self.size.width.min(most).min(whole.width.saturating_sub(left)) * COLORS;
        for index in 0..self.size.pictures {
            for y in 0..self.size.height.min(most).min(whole.height.saturating_sub(top)) {
                let from = self.at(index, y, 0).start;
                let to = (index * whole.pixels() + (top + y) * whole.width + left) * COLORS;
                picture[to..to + width].copy_from_slice(&self.colors[from..from + width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_length() {
        for side in 4..20 {
            let tiles = Tiles { side };
            for length in 1..80 {
                let covered = tiles.along(length).fold(0, |end, part| {
                    assert!(part.start <= end && part.len() <= side, "{part:?} after {end}");
                    end.max(part.end)
                });
                assert_eq!(covered, length);
            }
        }
    }
}
