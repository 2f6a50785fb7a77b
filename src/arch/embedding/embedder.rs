//! The model that one worker owns.

use std::num::NonZeroUsize;
use std::sync::Arc;

use rayon::prelude::*;

use super::pass::Pass;
use super::weights::{EmbeddingWeights, Prepared};
use crate::capability::{Capacity, EmbedRequest, JobContext, Model, ModelError, Outbox, Slot, TextEmbedding};
use crate::kernels::threads;

/// How many requests, and how many tokens of them, wait inside the model for a next step: enough that a
/// step is full while its worker looks for more, few enough that priority and cancellation still act early.
const CAPACITY: Capacity = Capacity { jobs: 64, cost: 16_384 };

/// One worker's embedding model: shared weights, and the texts admitted.
///
/// Between steps it holds the admitted texts and their token ids, and nothing else. A text is tokenized in the
/// first step after it was admitted, all that are new at once and on all of the worker's threads.
#[derive(Debug)]
pub struct TextEmbedder {
    weights: Arc<EmbeddingWeights>,
    threads: usize,
    /// Not yet tokenized, in the order of admission.
    admitted: Vec<(Slot, EmbedRequest)>,
    /// Tokenized, in the order of admission; all before those above.
    waiting: Vec<(Slot, Prepared)>,
}

impl TextEmbedder {
    /// A model on `weights` for the calling thread, which gets `threads` threads to compute on, itself
    /// included. Copies none of the weights.
    ///
    /// A thread takes its threads once and keeps them while it lives: for a second model on the same thread
    /// `threads` changes nothing.
    pub fn new(weights: Arc<EmbeddingWeights>, threads: NonZeroUsize) -> Self {
        let threads = threads::adopt(threads);
        Self { weights, threads, admitted: Vec::new(), waiting: Vec::new() }
    }

    /// The shared weights.
    pub fn weights(&self) -> &Arc<EmbeddingWeights> {
        &self.weights
    }
}

impl Model<TextEmbedding> for TextEmbedder {
    fn capacity(&self) -> Capacity {
        CAPACITY
    }

    fn admit(&mut self, slot: Slot, request: EmbedRequest, _: &JobContext) -> Result<(), ModelError> {
        self.weights.plan().validate(&request)?;
        self.admitted.push((slot, request));
        Ok(())
    }

    /// One pass over the texts admitted first, as many as fit it.
    fn step(&mut self, out: &mut Outbox<TextEmbedding>) -> Result<(), ModelError> {
        let admitted = std::mem::take(&mut self.admitted);
        let prepare = |(slot, request): (Slot, EmbedRequest)| (slot, self.weights.prepare(&request));
        // A single text, the common case, is not worth a thread's waking up.
        let prepared: Vec<_> = match admitted.len() {
            0 | 1 => admitted.into_iter().map(prepare).collect(),
            _ => admitted.into_par_iter().map(prepare).collect(),
        };
        for (slot, prepared) in prepared {
            match prepared {
                Ok(prepared) => self.waiting.push((slot, prepared)),
                Err(error) => out.fail(slot, error),
            }
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        for (slot, answer) in Pass::take(&mut self.waiting, self.threads).compute(&self.weights)? {
            match answer {
                Ok(embedding) => out.finish(slot, embedding),
                Err(error) => out.fail(slot, error),
            }
        }
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.admitted.retain(|(admitted, _)| *admitted != slot);
        self.waiting.retain(|(waiting, _)| *waiting != slot);
    }
}
