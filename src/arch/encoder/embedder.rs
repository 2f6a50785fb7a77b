//! The model that one worker owns.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::weights::{EncoderWeights, Prepared, step_length};
use crate::capability::{Capacity, EmbedRequest, JobContext, Model, ModelError, Outbox, Slot, TextEmbedding};
use crate::kernels::threads;

/// How many tokens one step computes at most, unless a single text has more.
///
/// A processor is as fast at some hundred rows as at some thousand, and a worker's memory, the wait of whoever
/// comes next and the time to cancel all grow with a step: so it is no larger than it must be.
pub(crate) const STEP_TOKENS: usize = 256;

/// How many requests, and how many tokens of them, wait inside the model for a next step: enough that a
/// step is full while its worker looks for more, few enough that priority and cancellation still act early.
const CAPACITY: Capacity = Capacity { jobs: 64, cost: 16_384 };

/// One worker's embedding model: shared weights, and the texts admitted.
///
/// Between steps it holds the admitted texts' token ids and nothing else.
#[derive(Debug)]
pub struct TextEmbedder {
    weights: Arc<EncoderWeights>,
    /// In the order of admission.
    admitted: Vec<(Slot, Prepared)>,
}

impl TextEmbedder {
    /// A model on `weights` for the calling thread, which gets `threads` threads to compute on, itself
    /// included. Copies none of the weights.
    ///
    /// A thread takes its threads once and keeps them while it lives: for a second model on the same thread
    /// `threads` changes nothing.
    pub fn new(weights: Arc<EncoderWeights>, threads: NonZeroUsize) -> Self {
        threads::adopt(threads);
        Self { weights, admitted: Vec::new() }
    }

    /// The shared weights.
    pub fn weights(&self) -> &Arc<EncoderWeights> {
        &self.weights
    }
}

impl Model<TextEmbedding> for TextEmbedder {
    fn capacity(&self) -> Capacity {
        CAPACITY
    }

    fn admit(&mut self, slot: Slot, request: EmbedRequest, _: &JobContext) -> Result<(), ModelError> {
        let prepared = self.weights.prepare(&request)?;
        self.admitted.push((slot, prepared));
        Ok(())
    }

    /// One pass over the texts admitted first, as many as fit the step.
    fn step(&mut self, out: &mut Outbox<TextEmbedding>) -> Result<(), ModelError> {
        if self.admitted.is_empty() {
            return Ok(());
        }
        let length = step_length(self.admitted.iter().map(|(_, prepared)| prepared.tokens()));
        let step: Vec<_> = self.admitted.drain(..length).collect();
        let batch: Vec<&Prepared> = step.iter().map(|(_, prepared)| prepared).collect();
        let answers = self.weights.compute(&batch)?;
        for ((slot, _), answer) in step.iter().zip(answers) {
            match answer {
                Ok(embedding) => out.finish(*slot, embedding),
                Err(error) => out.fail(*slot, error),
            }
        }
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.admitted.retain(|(admitted, _)| *admitted != slot);
    }
}
