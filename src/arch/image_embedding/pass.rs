//! Which pictures are computed together, and on which threads.

use rayon::prelude::*;

use super::weights::{Answer, ImageWeights, Prepared};
use crate::arch::pieces::{PASS_TOKENS, PIECE_TOKENS, cut};
use crate::capability::ModelError;
use crate::kernels::threads;

/// Pictures for one pass through the network, and whose they are.
pub(super) struct Pass<'a, T>(&'a [(T, Prepared)]);

/// `pictures` in their order, cut where a pass of so many threads is full.
pub(super) fn passes<T>(pictures: &[(T, Prepared)], threads: usize) -> impl Iterator<Item = Pass<'_, T>> {
    cut(pictures, tokens, PASS_TOKENS.saturating_mul(threads)).into_iter().map(Pass)
}

impl<T: Copy + Sync> Pass<'_, T> {
    /// Computes every picture, on the calling thread's pool. An error is the whole pass's; a picture whose numbers
    /// went wrong fails alone, its neighbours having never met it.
    pub(super) fn compute(&self, weights: &ImageWeights) -> Result<Vec<Answer<T>>, ModelError> {
        let vectors = |piece: &[(T, Prepared)]| {
            weights.vectors(&piece.iter().map(|(_, picture)| picture).collect::<Vec<_>>())
        };
        let pieces = cut(self.0, tokens, PIECE_TOKENS);
        let vectors: Result<Vec<_>, _> = threads::awake(|| match pieces.as_slice() {
            [only] => Ok(vec![vectors(only)?]),
            pieces => pieces.par_iter().map(|piece| vectors(piece)).collect(),
        });
        let answers = self.0.iter().zip(vectors?.into_iter().flatten());
        Ok(answers.map(|((name, picture), vector)| (*name, picture.finish(vector))).collect())
    }
}

fn tokens<T>((_, picture): &(T, Prepared)) -> usize {
    picture.tokens
}
