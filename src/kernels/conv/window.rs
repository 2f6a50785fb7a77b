//! Which pixels of the input lie under a pixel of the result.

use std::ops::Range;

use crate::kernels::pixel_grid::PixelGrid;

/// A square window that moves over a picture with zeros around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Pixels a side.
    pub(crate) side: usize,
    /// Pixels from one place to the next.
    pub(crate) stride: usize,
    /// Zeros above and to the left.
    pub(crate) before: usize,
    /// Zeros below and to the right.
    pub(crate) after: usize,
    /// How many times each of the picture's rows and columns is repeated first.
    pub(crate) enlarge: usize,
}

impl Window {
    /// Each pixel by itself.
    pub(crate) const PIXEL: Self = Self { side: 1, stride: 1, before: 0, after: 0, enlarge: 1 };
    /// 3 x 3, a result for each pixel.
    pub(crate) const SAME: Self = Self { side: 3, stride: 1, before: 1, after: 1, enlarge: 1 };
    /// 3 x 3, a result for every second pixel of every second row.
    pub(crate) const HALVING: Self = Self { stride: 2, ..Self::SAME };
    /// 3 x 3 over the picture at twice its size, each pixel repeated.
    pub(crate) const DOUBLING: Self = Self { enlarge: 2, ..Self::SAME };

    /// The pictures that come of such ones: one pixel at least. Where a picture with its zeros is smaller than the
    /// window, there are more zeros below and to the right.
    pub(crate) fn result(self, grid: PixelGrid) -> PixelGrid {
        let places = |side: usize| {
            (side * self.enlarge + self.before + self.after).saturating_sub(self.side) / self.stride + 1
        };
        PixelGrid { height: places(grid.height), width: places(grid.width), ..grid }
    }

    /// The places under the window at `place` along one side of `length` pixels, once enlarged: of the picture as it
    /// was, or `None` where there are zeros.
    pub(super) fn under(self, place: usize, length: usize) -> impl Iterator<Item = Option<usize>> {
        let first = place * self.stride;
        (first..first + self.side).map(move |at| {
            let at = at.checked_sub(self.before)?;
            (at < length).then_some(at / self.enlarge)
        })
    }

    /// Puts together what lies under some pixels of `result`: `xs` is `[rows, channels]` of `grid`, `out` gets
    /// `[pixels, side x side x channels]`. Pictures that are enlarged are cut to the size of the result.
    pub(super) fn gather(
        self,
        xs: &[f32],
        channels: usize,
        (grid, result): (PixelGrid, PixelGrid),
        pixels: Range<usize>,
        out: &mut Vec<f32>,
    ) {
        let enlarged = if self.enlarge == 1 { grid } else { result };
        out.clear();
        for pixel in pixels {
            let (picture, place) = (pixel / result.pixels(), pixel % result.pixels());
            let picture = &xs[picture * grid.pixels() * channels..];
            for y in self.under(place / result.width, enlarged.height) {
                for x in self.under(place % result.width, enlarged.width) {
                    match y.zip(x) {
                        Some((y, x)) => {
                            out.extend_from_slice(&picture[(y * grid.width + x) * channels..][..channels]);
                        }
                        None => out.resize(out.len() + channels, 0.0),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_stand_where_they_should() {
        let under = |window: Window, place, length| window.under(place, length).collect::<Vec<_>>();
        assert_eq!(under(Window::SAME, 0, 3), [None, Some(0), Some(1)]);
        assert_eq!(under(Window::SAME, 2, 3), [Some(1), Some(2), None]);
        assert_eq!(under(Window::HALVING, 1, 4), [Some(1), Some(2), Some(3)]);
        assert_eq!(under(Window::DOUBLING, 2, 4), [Some(0), Some(1), Some(1)]);
        assert_eq!(under(Window::DOUBLING, 3, 4), [Some(1), Some(1), None]);
        assert_eq!(under(Window::DOUBLING, 2, 3), [Some(0), Some(1), None]);
    }

    #[test]
    fn results_have_their_sizes() {
        let sides = |window: Window, side| {
            let grid = PixelGrid { pictures: 2, height: side, width: side };
            window.result(grid).height
        };
        assert_eq!([1, 2, 7, 8].map(|side| sides(Window::SAME, side)), [1, 2, 7, 8]);
        assert_eq!([1, 2, 7, 8].map(|side| sides(Window::HALVING, side)), [1, 1, 4, 4]);
        assert_eq!([1, 2, 7].map(|side| sides(Window::DOUBLING, side)), [2, 4, 14]);
    }
}
