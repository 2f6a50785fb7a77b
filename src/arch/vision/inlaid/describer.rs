//! The model that one worker owns.

use std::collections::VecDeque;
use std::sync::Arc;

use super::looking::{Looking, Progress};
use super::weights::InlaidWeights;
use super::wording::Apart;
use crate::arch::decoder::Writing;
use crate::capability::{Capacity, DescribeRequest, JobContext, Model, ModelError, Outbox, Slot, Vision};
use crate::text::CivilTime;

/// One worker's vision: shared weights, a cache of its own, the pictures it has seen last, and the requests admitted.
///
/// Each step looks at one view of a picture (a tile where a family cuts pictures, else all of it), gives every running
/// answer one token, and reads a part of the prompts that are new. Requests whose pictures are seen join the others in
/// the order they came.
#[derive(Debug)]
pub(crate) struct InlaidDescriber {
    weights: Arc<InlaidWeights>,
    writing: Writing,
    /// Requests whose pictures are not all seen, in the order they came.
    waiting: VecDeque<(Slot, Looking)>,
    /// Counts requests that joined those under way.
    begun: u64,
    unix_now: fn() -> i64,
}

impl InlaidDescriber {
    /// A model on `weights`. `unix_now` tells chat templates that ask for it the time, in seconds since 1970.
    pub(crate) fn new(weights: Arc<InlaidWeights>, unix_now: fn() -> i64) -> Self {
        let writing = Writing::new(weights.decoder.clone(), weights.plan.kept_rows());
        Self { weights, writing, waiting: VecDeque::new(), begun: 0, unix_now }
    }

    /// Blocks of the cache that no request holds, and all there are.
    pub(crate) fn free_blocks(&self) -> (usize, usize) {
        self.writing.free_blocks()
    }

    /// How many pictures were read and not known from before.
    pub(crate) fn pictures_read(&self) -> u64 {
        self.writing.inlays().taken_in()
    }

    /// How many rows of pictures requests hold.
    pub(crate) fn held_rows(&self) -> usize {
        self.writing.inlays().held()
    }

    /// Looks at one view of a picture of whoever waits longest.
    fn look(&mut self, out: &mut Outbox<Vision>) {
        let Some((slot, looking)) = self.waiting.front_mut() else { return };
        match looking.go_on(&self.weights, self.writing.inlays_mut()) {
            Ok(Progress::More | Progress::Waits) => {}
            Ok(Progress::Done) => {
                let (slot, looking) = self.waiting.pop_front().expect("it was just looked at");
                if let Err(error) = self.begin(slot, looking) {
                    out.fail(slot, error);
                }
            }
            Err(error) => {
                out.fail(*slot, error);
                self.waiting.pop_front();
            }
        }
    }

    /// Lets a request join those under way.
    fn begin(&mut self, slot: Slot, looking: Looking) -> Result<(), ModelError> {
        let Looking { request, seen, .. } = looking;
        let now = CivilTime::from_unix((self.unix_now)());
        self.begun += 1;
        let alone = (1 << 63) | self.begun;
        let apart = Apart { epoch: self.writing.inlays().epoch_of(&seen).unwrap_or(alone), alone };
        let prompt = self.weights.tokens(&request, seen, apart, now)?;
        self.writing.begin(slot, request.generate, prompt)
    }
}

impl Model<Vision> for InlaidDescriber {
    fn capacity(&self) -> Capacity {
        self.weights.plan.capacity()
    }

    /// A request without pictures joins those under way at once.
    fn admit(&mut self, slot: Slot, request: DescribeRequest, _: &JobContext) -> Result<(), ModelError> {
        self.weights.plan.check(&request)?;
        let looking = Looking::new(request);
        if looking.request.images.is_empty() {
            return self.begin(slot, looking);
        }
        self.waiting.push_back((slot, looking));
        Ok(())
    }

    /// One view of a picture, one token for every running answer, and a part of the prompts that are new.
    fn step(&mut self, out: &mut Outbox<Vision>) -> Result<(), ModelError> {
        self.look(out);
        self.writing.step(out)
    }

    fn cancel(&mut self, slot: Slot) {
        self.waiting.retain(|(waiting, _)| *waiting != slot);
        self.writing.cancel(slot);
    }
}
