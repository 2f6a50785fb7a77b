//! The model that one worker owns.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::weights::DecoderWeights;
use super::writing::Writing;
use crate::capability::{Capacity, GenerateRequest, JobContext, Model, ModelError, Outbox, Slot, TextToText};
use crate::kernels::threads;
use crate::text::CivilTime;

/// One worker's text generation: shared weights, a cache of its own, and the requests admitted.
///
/// Each step gives every running answer one token, and reads a part of the prompts that are new. Answers end
/// when a step has ended them; a canceled request gives its part of the cache back at once.
#[derive(Debug)]
pub struct TextGenerator {
    writing: Writing,
    unix_now: fn() -> i64,
}

impl TextGenerator {
    /// A model on `weights` for the calling thread, which gets `threads` threads to compute on, itself
    /// included. Copies none of the weights. `unix_now` tells chat templates that ask for it the time, in
    /// seconds since 1970.
    ///
    /// A thread takes its threads once and keeps them while it lives: for a second model on the same thread
    /// `threads` changes nothing.
    pub fn new(weights: Arc<DecoderWeights>, threads: NonZeroUsize, unix_now: fn() -> i64) -> Self {
        threads::adopt(threads);
        Self { writing: Writing::new(weights, 0), unix_now }
    }

    /// The shared weights.
    pub fn weights(&self) -> &Arc<DecoderWeights> {
        self.writing.weights()
    }

    /// Blocks of the cache that no request holds, and all there are.
    #[doc(hidden)]
    pub fn free_blocks(&self) -> (usize, usize) {
        self.writing.free_blocks()
    }
}

impl Model<TextToText> for TextGenerator {
    fn capacity(&self) -> Capacity {
        self.weights().plan().capacity()
    }

    fn admit(&mut self, slot: Slot, request: GenerateRequest, _: &JobContext) -> Result<(), ModelError> {
        self.weights().plan().check(&request)?;
        let prompt = self.weights().tokenize(&request, CivilTime::from_unix((self.unix_now)()))?;
        self.writing.begin(slot, request, prompt.into())
    }

    /// One token for every running answer, and a part of the prompts that are new.
    fn step(&mut self, out: &mut Outbox<TextToText>) -> Result<(), ModelError> {
        self.writing.step(out)
    }

    fn cancel(&mut self, slot: Slot) {
        self.writing.cancel(slot);
    }
}
