//! Which token is whose.

use std::ops::Range;

use candle_core::{Result, Tensor};

use crate::arch::pieces::PIECE_TOKENS;
use crate::kernels::equal_spans;

/// The tokens of a batch, as attention sees them: for each picture its text's, then its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) pictures: usize,
    /// Tokens of each text; 0 where pictures are by themselves.
    pub(super) text: usize,
    /// Tokens of each picture.
    pub(super) squares: usize,
}

/// Tokens that go through the same layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Picture,
    /// All, as attention sees them.
    Both,
}

/// Some tokens of one picture, computed together: its rows in a tensor of its kind alone and in one of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) picture: usize,
    rows: usize,
    own: usize,
    pub(super) joint: usize,
    /// Of the first row among the tokens of its picture.
    place: usize,
}

impl Sequence {
    /// Tokens of a picture and its text.
    pub(super) fn tokens(self) -> usize {
        self.text + self.squares
    }

    /// What attention looks at together.
    pub(super) fn spans(self) -> Vec<Range<usize>> {
        equal_spans(self.pictures, self.tokens()).collect()
    }

    /// All tokens of a kind, in pieces that are enough for full speed, so that what is widest in a block is never
    /// held for all of them.
    pub(super) fn pieces(self, kind: Kind) -> impl Iterator<Item = Piece> {
        let (first, count) = match kind {
            Kind::Text => (0, self.text),
            Kind::Picture => (self.text, self.squares),
            Kind::Both => (0, self.tokens()),
        };
        let of_picture = move |picture| {
            (0..count).step_by(PIECE_TOKENS).map(move |start| Piece {
                picture,
                rows: PIECE_TOKENS.min(count - start),
                own: picture * count + start,
                joint: picture * self.tokens() + first + start,
                place: first + start,
            })
        };
        (0..self.pictures).flat_map(of_picture)
    }
}

impl Piece {
    /// Its rows of a tensor of its kind alone: a view.
    pub(super) fn own(self, xs: &Tensor) -> Result<Tensor> {
        xs.narrow(0, self.own, self.rows)
    }

    /// Its rows of a tensor of all tokens: a view.
    pub(super) fn joint(self, xs: &Tensor) -> Result<Tensor> {
        xs.narrow(0, self.joint, self.rows)
    }

    /// Its rows of a table of the tokens of any one picture: a view.
    pub(super) fn of_table(self, table: &Tensor) -> Result<Tensor> {
        table.narrow(0, self.place, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_both_kinds_tile_all_tokens() {
        let sequence = Sequence { pictures: 2, text: 300, squares: 513 };
        let rows = |kind| {
            let pieces = sequence.pieces(kind);
            pieces.flat_map(|piece| piece.joint..piece.joint + piece.rows).collect::<Vec<_>>()
        };
        let mut apart = [rows(Kind::Text), rows(Kind::Picture)].concat();
        apart.sort_unstable();
        let all: Vec<_> = (0..2 * 813).collect();
        assert_eq!((&apart, rows(Kind::Both)), (&all, all.clone()));
        let last = sequence.pieces(Kind::Picture).last().unwrap();
        assert_eq!(last, Piece { picture: 1, rows: 1, own: 1025, joint: 1625, place: 812 });
        assert_eq!(sequence.spans(), [0..813, 813..1626]);
    }
}
