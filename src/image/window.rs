//! Cutting the middle out of a side, or putting it into the middle of a longer one.

use std::ops::Range;

/// One side of a picture: how long it is resized to, what of that is looked at, and where that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// How long the side is resized to; at least 1.
    pub(super) full: usize,
    /// What is looked at of it.
    pub(super) shown: Range<usize>,
    /// Where in the result that begins.
    pub(super) at: usize,
    /// How long the result is. What is not shown is black.
    pub(super) result: usize,
}

impl Window {
    /// All of a side of `full`.
    pub(super) fn whole(full: usize) -> Self {
        Self { full, shown: 0..full, at: 0, result: full }
    }

    /// The middle of `full`, `result` long. What cannot be halved is left over at the end of what is cut, but goes
    /// before what is put into something longer: so transformers have it.
    pub(super) fn middle(full: usize, result: usize) -> Self {
        if full >= result {
            let start = (full - result) / 2;
            return Self { full, shown: start..start + result, at: 0, result };
        }
        Self { full, shown: 0..full, at: (result - full).div_ceil(2), result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_cut_out_or_put_in() {
        let middle = |full, result| {
            let window = Window::middle(full, result);
            assert_eq!((window.full, window.result), (full, result));
            (window.shown, window.at)
        };
        assert_eq!(middle(7, 4), (1..5, 0));
        assert_eq!(middle(8, 4), (2..6, 0));
        assert_eq!(middle(4, 4), (0..4, 0));
        assert_eq!(middle(3, 4), (0..3, 1));
        assert_eq!(middle(1, 6), (0..1, 3));
        assert_eq!(Window::whole(5), Window::middle(5, 5));
    }
}
