//! The model that one worker owns, whichever way it sees.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::blip::Captioner;
use super::inlaid::InlaidDescriber;
use super::weights::{Loaded, VisionWeights};
use crate::capability::{Capacity, DescribeRequest, JobContext, Model, ModelError, Outbox, Slot, Vision};
use crate::kernels::threads;

/// One worker's vision: shared weights, a cache of its own, and the requests admitted.
///
/// Each step looks at one view of a picture (a tile where a family cuts pictures, else all of it), gives every running
/// answer one token, and reads of the prompts that are new a part, or, of captions, all. Requests whose pictures are
/// seen join the others in the order they came.
#[derive(Debug)]
pub struct Describer {
    weights: Arc<VisionWeights>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Inlaid(Box<InlaidDescriber>),
    Blip(Box<Captioner>),
}

impl Describer {
    /// A model on `weights` for the calling thread, which gets `threads` threads to compute on, itself included.
    /// Copies none of the weights. `unix_now` tells chat templates that ask for it the time, in seconds since 1970.
    ///
    /// A thread takes its threads once and keeps them while it lives: for a second model on the same thread
    /// `threads` changes nothing.
    pub fn new(weights: Arc<VisionWeights>, threads: NonZeroUsize, unix_now: fn() -> i64) -> Self {
        threads::adopt(threads);
        let way = match &weights.loaded {
            Loaded::Inlaid(weights) => Way::Inlaid(Box::new(InlaidDescriber::new(weights.clone(), unix_now))),
            Loaded::Blip(weights) => Way::Blip(Box::new(Captioner::new(weights.clone()))),
        };
        Self { weights, way }
    }

    /// The shared weights.
    pub fn weights(&self) -> &Arc<VisionWeights> {
        &self.weights
    }

    /// Blocks of the cache that no request holds, and all there are.
    #[doc(hidden)]
    pub fn free_blocks(&self) -> (usize, usize) {
        match &self.way {
            Way::Inlaid(model) => model.free_blocks(),
            Way::Blip(model) => model.free_tokens(),
        }
    }

    /// How many pictures were read and not known from before.
    #[doc(hidden)]
    pub fn pictures_read(&self) -> u64 {
        match &self.way {
            Way::Inlaid(model) => model.pictures_read(),
            Way::Blip(model) => model.pictures_read(),
        }
    }

    /// How many rows of pictures requests hold.
    #[doc(hidden)]
    pub fn held_rows(&self) -> usize {
        match &self.way {
            Way::Inlaid(model) => model.held_rows(),
            Way::Blip(model) => model.held_rows(),
        }
    }
}

impl Model<Vision> for Describer {
    fn capacity(&self) -> Capacity {
        match &self.way {
            Way::Inlaid(model) => model.capacity(),
            Way::Blip(model) => model.capacity(),
        }
    }

    fn admit(&mut self, slot: Slot, request: DescribeRequest, job: &JobContext) -> Result<(), ModelError> {
        match &mut self.way {
            Way::Inlaid(model) => model.admit(slot, request, job),
            Way::Blip(model) => model.admit(slot, request, job),
        }
    }

    fn step(&mut self, out: &mut Outbox<Vision>) -> Result<(), ModelError> {
        match &mut self.way {
            Way::Inlaid(model) => model.step(out),
            Way::Blip(model) => model.step(out),
        }
    }

    fn cancel(&mut self, slot: Slot) {
        match &mut self.way {
            Way::Inlaid(model) => model.cancel(slot),
            Way::Blip(model) => model.cancel(slot),
        }
    }
}
