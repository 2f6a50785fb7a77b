//! Which pictures are computed together, and on which threads.

use rayon::prelude::*;

use super::weights::{Answer, ImageWeights, Prepared};
use crate::capability::ModelError;
use crate::kernels::threads;

/// How many tokens one pass computes at most for each thread, unless a single picture has more; so much that a
/// processor is at full speed, and no more, as memory, the wait of whoever comes next and the time to cancel grow
/// with it.
pub(super) const PASS_TOKENS: usize = 512;

/// How many tokens of a pass are computed in one piece, unless a picture has more: enough rows for full speed, and
/// pieces enough for threads to share evenly.
const PIECE_TOKENS: usize = 256;

/// Pictures for one pass through the network, and whose they are.
pub(super) struct Pass<'a, T>(&'a [(T, Prepared)]);

/// `pictures` in their order, cut where a pass of so many threads is full.
pub(super) fn passes<T>(pictures: &[(T, Prepared)], threads: usize) -> impl Iterator<Item = Pass<'_, T>> {
    cut(pictures, PASS_TOKENS.saturating_mul(threads)).into_iter().map(Pass)
}

impl<T: Copy + Sync> Pass<'_, T> {
    /// Computes every picture, on the calling thread's pool. An error is the whole pass's; a picture whose numbers
    /// went wrong fails alone, its neighbours having never met it.
    pub(super) fn compute(&self, weights: &ImageWeights) -> Result<Vec<Answer<T>>, ModelError> {
        let vectors = |piece: &[(T, Prepared)]| {
            weights.vectors(&piece.iter().map(|(_, picture)| picture).collect::<Vec<_>>())
        };
        let pieces = cut(self.0, PIECE_TOKENS);
        let vectors: Result<Vec<_>, _> = threads::awake(|| match pieces.as_slice() {
            [only] => Ok(vec![vectors(only)?]),
            pieces => pieces.par_iter().map(|piece| vectors(piece)).collect(),
        });
        let answers = self.0.iter().zip(vectors?.into_iter().flatten());
        Ok(answers.map(|((name, picture), vector)| (*name, picture.finish(vector))).collect())
    }
}

/// Parts of `pictures`, each of at most `most` tokens or of one picture. None of no pictures.
fn cut<T>(pictures: &[(T, Prepared)], most: usize) -> Vec<&[(T, Prepared)]> {
    let mut parts = Vec::new();
    let (mut start, mut tokens) = (0, 0usize);
    for (index, (_, picture)) in pictures.iter().enumerate() {
        tokens = tokens.saturating_add(picture.tokens);
        if index > start && tokens > most {
            parts.push(&pictures[start..index]);
            (start, tokens) = (index, picture.tokens);
        }
    }
    if start < pictures.len() {
        parts.push(&pictures[start..]);
    }
    parts
}
