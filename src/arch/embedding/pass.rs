//! Which texts are computed together, and on which threads.

use std::collections::HashMap;

use rayon::prelude::*;

use super::weights::{EmbeddingWeights, Finishing, Prepared};
use crate::arch::pieces::{PASS_TOKENS, PIECE_TOKENS, cut};
use crate::capability::{Embedding, ModelError};
use crate::kernels::threads;

/// Texts for one pass through the network, and whose answers they are: requests for the same text share one.
pub(crate) struct Pass<T> {
    /// All different.
    texts: Vec<Prepared>,
    members: Vec<Member<T>>,
}

/// One request of a pass.
struct Member<T> {
    name: T,
    /// Which of the pass's texts it asked for.
    text: usize,
    finishing: Finishing,
}

/// What became of the request of that name.
pub(crate) type Answer<T> = (T, Result<Embedding, ModelError>);

impl<T: Copy> Pass<T> {
    /// Takes out of `waiting`, in order, as many texts as `threads` threads should compute at once and at least
    /// one; and with them every request for the same texts, wherever it stands.
    pub(crate) fn take(waiting: &mut Vec<(T, Prepared)>, threads: usize) -> Self {
        let budget = PASS_TOKENS.saturating_mul(threads);
        let mut places = HashMap::new();
        let (mut texts, mut members, mut left) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tokens, mut full) = (0usize, false);
        for (name, prepared) in waiting.drain(..) {
            let finishing = prepared.finishing;
            let known = places.get(&prepared.input).copied();
            let text = known.or_else(|| {
                let sum = tokens.saturating_add(prepared.tokens());
                full |= !texts.is_empty() && sum > budget;
                (!full).then(|| {
                    tokens = sum;
                    texts.len()
                })
            });
            match text {
                None => left.push((name, prepared)),
                Some(text) => {
                    members.push(Member { name, text, finishing });
                    if known.is_none() {
                        places.insert(prepared.input.clone(), text);
                        texts.push(prepared);
                    }
                }
            }
        }
        *waiting = left;
        Self { texts, members }
    }

    /// The requests it answers.
    pub(crate) fn members(&self) -> impl Iterator<Item = T> {
        self.members.iter().map(|member| member.name)
    }

    /// Computes every text, on the calling thread's pool, and answers every request. An error is the whole
    /// pass's; a text whose numbers went wrong fails alone, its neighbours having never met it.
    pub(crate) fn compute(&self, weights: &EmbeddingWeights) -> Result<Vec<Answer<T>>, ModelError>
    where
        T: Sync,
    {
        let pieces = cut(&self.texts, Prepared::tokens, PIECE_TOKENS);
        let pooled = threads::awake(|| match pieces.as_slice() {
            [only] => Ok(vec![weights.pooled(only)?]),
            pieces => {
                pieces.par_iter().map(|piece| weights.pooled(piece)).collect::<Result<Vec<_>, ModelError>>()
            }
        });
        let pooled: Vec<Vec<f32>> = pooled?.into_iter().flatten().collect();
        let answers = self.members.iter().map(|member| {
            let vector = pooled[member.text].clone();
            (member.name, weights.finish(&self.texts[member.text], vector, member.finishing))
        });
        Ok(answers.collect())
    }
}
