//! The model that one worker owns.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::weights::ImageWeights;
use crate::arch::pieces::PASS_TOKENS;
use crate::capability::{
    Capacity, EmbedImageRequest, ImageEmbedding, JobContext, Model, ModelError, Outbox, Slot,
};
use crate::image::DecodingRoom;
use crate::kernels::threads;

/// How many pictures, and how many patches of them, wait inside the model for a next step: enough that a step is
/// full while its worker looks for more, few enough that priority and cancellation still act early.
const CAPACITY: Capacity = Capacity { jobs: MOST_PICTURES as u32, cost: 16_384 };

pub(super) const MOST_PICTURES: usize = 64;

/// One worker's model: shared weights, and the pictures admitted, as they came.
#[derive(Debug)]
pub struct ImageEmbedder {
    weights: Arc<ImageWeights>,
    threads: usize,
    room: DecodingRoom,
    /// In the order of admission.
    waiting: Vec<(Slot, EmbedImageRequest)>,
}

impl ImageEmbedder {
    /// A model on `weights` for the calling thread, which gets `threads` threads to compute on, itself included.
    /// Copies none of the weights.
    ///
    /// A thread takes its threads once and keeps them while it lives: for a second model on the same thread
    /// `threads` changes nothing.
    pub fn new(weights: Arc<ImageWeights>, threads: NonZeroUsize) -> Self {
        let threads = threads::adopt(threads);
        Self { weights, threads, room: DecodingRoom::default(), waiting: Vec::new() }
    }

    /// The shared weights.
    pub fn weights(&self) -> &Arc<ImageWeights> {
        &self.weights
    }

    /// Takes out the pictures admitted first: as many as one pass should compute, and at least one.
    fn take(&mut self) -> Vec<(Slot, EmbedImageRequest)> {
        let budget = PASS_TOKENS.saturating_mul(self.threads) as u64;
        let plan = self.weights.plan();
        let costs = self.waiting.iter().map(|(_, request)| plan.cost(request));
        let sums = costs.scan(0u64, |sum, cost| {
            *sum = sum.saturating_add(cost);
            Some(*sum)
        });
        let fitting = sums.take_while(|sum| *sum <= budget).count();
        self.waiting.drain(..fitting.max(1).min(self.waiting.len())).collect()
    }
}

impl Model<ImageEmbedding> for ImageEmbedder {
    fn capacity(&self) -> Capacity {
        CAPACITY
    }

    fn admit(&mut self, slot: Slot, request: EmbedImageRequest, _: &JobContext) -> Result<(), ModelError> {
        self.weights.plan().validate(&request)?;
        self.waiting.push((slot, request));
        Ok(())
    }

    /// One pass over the pictures admitted first, as many as fit it.
    fn step(&mut self, out: &mut Outbox<ImageEmbedding>) -> Result<(), ModelError> {
        let taken = self.take();
        let requests = taken.iter().map(|(slot, request)| (*slot, request)).collect();
        for (slot, answer) in self.weights.answer(requests, &self.room)? {
            match answer {
                Ok(vector) => out.finish(slot, vector),
                Err(error) => out.fail(slot, error),
            }
        }
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.waiting.retain(|(waiting, _)| *waiting != slot);
    }
}
