//! Pictures cut into squares and laid end to end.

use std::ops::Range;

use crate::image::PixelValues;

/// How many patches a picture has, down and across. What is left at its right and lower edge is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Grid {
    /// Of a picture of these sides.
    pub(crate) fn of(height: usize, width: usize, patch_size: usize) -> Self {
        Self { height: height / patch_size, width: width / patch_size }
    }

    /// How many patches.
    pub(crate) fn patches(self) -> usize {
        self.height.saturating_mul(self.width)
    }
}

/// The patches of several pictures, one after the other.
pub(super) struct PackedPictures {
    /// `[patches, 3 x size x size]`: each patch's red, then its green, then its blue, row by row.
    pub(super) patches: Vec<f32>,
    pub(super) grids: Vec<Grid>,
    /// Which tokens are a picture's: its patches and `before` more.
    pub(super) spans: Vec<Range<usize>>,
}

impl PackedPictures {
    /// Cuts `pictures` into patches of `size` by `size` pixels. Each has at least one.
    pub(super) fn new(pictures: &[&PixelValues], size: usize, before: usize) -> Self {
        let grids = pictures.iter().map(|picture| Grid::of(picture.height, picture.width, size));
        let grids: Vec<_> = grids.collect();
        let all: usize = grids.iter().map(|grid| grid.patches()).sum();
        let mut patches = Vec::with_capacity(all * 3 * size * size);
        let (mut spans, mut end) = (Vec::with_capacity(pictures.len()), 0);
        for (picture, grid) in pictures.iter().zip(&grids) {
            cut(picture, *grid, size, &mut patches);
            let start = end;
            end += before + grid.patches();
            spans.push(start..end);
        }
        Self { patches, grids, spans }
    }
}

fn cut(picture: &PixelValues, grid: Grid, size: usize, patches: &mut Vec<f32>) {
    let PixelValues { height, width, values } = picture;
    for (row, column) in (0..grid.height).flat_map(|row| (0..grid.width).map(move |column| (row, column))) {
        for plane in values.chunks_exact(height * width) {
            let lines = plane.chunks_exact(*width).skip(row * size).take(size);
            lines.for_each(|line| patches.extend_from_slice(&line[column * size..][..size]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_its_red_its_green_and_its_blue() {
        let (height, width) = (5, 7);
        let values = (0..3 * height * width).map(|number| number as f32).collect();
        let picture = PixelValues { height, width, values };
        let packed = PackedPictures::new(&[&picture, &picture], 2, 1);
        assert_eq!(packed.grids, [Grid { height: 2, width: 3 }; 2]);
        assert_eq!(packed.spans, [0..7, 7..14]);
        assert_eq!(packed.patches.len(), 2 * 6 * 12);
        let fifth = &packed.patches[4 * 12..5 * 12];
        let red = [16.0, 17.0, 23.0, 24.0];
        let expected: Vec<f32> = [0.0, 35.0, 70.0].iter().flat_map(|plane| red.map(|r| r + plane)).collect();
        assert_eq!(fifth, expected);
    }
}
