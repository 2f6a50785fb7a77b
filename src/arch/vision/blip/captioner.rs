//! The model that one worker owns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::memory::{Reading, TextMemory};
use super::request::{Captioning, Waiting};
use super::weights::BlipWeights;
use crate::capability::{Capacity, DescribeRequest, JobContext, Model, ModelError, Outbox, Slot, Vision};
use crate::kernels::{BLOCK_TOKENS, threads};
use crate::text::SamplingScratch;

/// One worker's captions: shared weights, what is kept of texts and pictures, and the requests admitted.
///
/// Each step sees one picture, and then computes the prompt that goes with it beside one token of every text under
/// way. A picture is seen once there is room for its texts at their longest: requests join in the order they came.
#[derive(Debug)]
pub(crate) struct Captioner {
    weights: Arc<BlipWeights>,
    memory: TextMemory,
    /// Requests whose pictures are not seen, in the order they came.
    waiting: VecDeque<Waiting>,
    under_way: BTreeMap<Slot, Captioning>,
    scratch: SamplingScratch,
    seeds: fastrand::Rng,
    pictures_read: u64,
}

impl Captioner {
    /// A model on `weights`, of which it copies none.
    pub(crate) fn new(weights: Arc<BlipWeights>) -> Self {
        let memory = TextMemory::new(&weights.plan.config.text, weights.plan.blocks());
        Self {
            weights,
            memory,
            waiting: VecDeque::new(),
            under_way: BTreeMap::new(),
            scratch: SamplingScratch::default(),
            seeds: fastrand::Rng::new(),
            pictures_read: 0,
        }
    }

    /// How many tokens no request has room for, and how many there is room for in all.
    pub(crate) fn free_tokens(&self) -> (usize, usize) {
        let (free, all) = self.memory.free();
        (free * BLOCK_TOKENS, all * BLOCK_TOKENS)
    }

    pub(crate) fn pictures_read(&self) -> u64 {
        self.pictures_read
    }

    /// How many rows of pictures are kept.
    pub(crate) fn held_rows(&self) -> usize {
        self.under_way.len() * self.weights.plan.config.picture_rows()
    }

    /// Lets whoever waits longest join those under way, if there is room: sees the picture.
    fn begin(&mut self, out: &mut Outbox<Vision>) {
        let Some(blocks) = self.waiting.front().and_then(|first| self.memory.take(first.blocks())) else {
            return;
        };
        let waiting = self.waiting.pop_front().expect("it was just looked at");
        let slot = waiting.slot;
        match self.weights.see(&waiting.image) {
            Ok(picture) => {
                self.pictures_read += 1;
                let seed = self.seeds.u64(..);
                let captioning = Captioning::new(&self.weights, waiting, picture, blocks, seed);
                self.under_way.insert(slot, captioning);
            }
            Err(error) => {
                self.memory.give_back(&blocks);
                out.fail(slot, error);
            }
        }
    }

    /// Has texts read what they have not read yet, and gives each its next token.
    fn go_on(&mut self, out: &mut Outbox<Vision>) -> Result<(), ModelError> {
        let readings: Vec<Reading<'_>> = self.under_way.values().map(Captioning::reading).collect();
        if readings.is_empty() {
            return Ok(());
        }
        let network = &self.weights.network;
        let read = threads::awake(|| network.read(&readings, &mut self.memory)?.to_vec2::<f32>());
        let logits = read.map_err(ModelError::failed)?;
        let texts = readings.iter().map(|reading| reading.texts.len());
        let texts: Vec<(Slot, usize)> = self.under_way.keys().copied().zip(texts).collect();
        let mut rest = logits.as_slice();
        for (slot, texts) in texts {
            let (rows, others) = rest.split_at(texts);
            rest = others;
            self.take(slot, rows, out);
        }
        Ok(())
    }

    /// Gives a request's texts their next tokens; ends it where those were the last.
    fn take(&mut self, slot: Slot, logits: &[Vec<f32>], out: &mut Outbox<Vision>) {
        let Some(captioning) = self.under_way.get_mut(&slot) else { return };
        match captioning.take(logits, &self.weights, &mut self.scratch) {
            Ok(tokens) => tokens.into_iter().for_each(|token| out.event(slot, token)),
            Err(error) => {
                self.end(slot);
                return out.fail(slot, error);
            }
        }
        if captioning.has_ended() {
            let captioning = self.end(slot).expect("it was just looked at");
            out.finish(slot, captioning.into_completion());
        }
    }

    /// Takes a request out of those under way, whose room is free for others.
    fn end(&mut self, slot: Slot) -> Option<Captioning> {
        let captioning = self.under_way.remove(&slot)?;
        self.memory.give_back(&captioning.blocks);
        Some(captioning)
    }
}

impl Model<Vision> for Captioner {
    fn capacity(&self) -> Capacity {
        self.weights.plan.capacity()
    }

    fn admit(&mut self, slot: Slot, request: DescribeRequest, _: &JobContext) -> Result<(), ModelError> {
        let (image, beginning) = self.weights.plan.asked(&request)?;
        let (image, prompt) =
            (image.clone(), self.weights.prompt(beginning, request.generate.least_tokens())?);
        let room = self.weights.plan.max_tokens().saturating_sub(prompt.len());
        let waiting = Waiting { slot, image, request: request.generate.cut_to(room), prompt };
        // The weight of a request is that of its bytes, and some tokenizers make more tokens of a text than it has.
        self.weights.plan.has_room(waiting.blocks().saturating_mul(BLOCK_TOKENS))?;
        self.waiting.push_back(waiting);
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<Vision>) -> Result<(), ModelError> {
        self.begin(out);
        self.go_on(out)
    }

    fn cancel(&mut self, slot: Slot) {
        self.waiting.retain(|waiting| waiting.slot != slot);
        self.end(slot);
    }
}
