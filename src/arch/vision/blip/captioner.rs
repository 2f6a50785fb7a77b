//! The model that one worker owns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::memory::Reading;
use super::request::Captioning;
use super::weights::BlipWeights;
use crate::capability::{
    Capacity, DescribeRequest, ImageSource, InvalidRequest, JobContext, Model, ModelError, Outbox, Prompt,
    Slot, Vision,
};
use crate::kernels::threads;
use crate::text::SamplingScratch;

/// One worker's captions: shared weights, what is kept of texts and pictures, and the requests admitted.
///
/// Each step gives every running text one token; then it sees one picture, reads the prompt that goes with it, and
/// gives its texts their first.
#[derive(Debug)]
pub(crate) struct Captioner {
    weights: Arc<BlipWeights>,
    /// Requests whose pictures are not seen, with the tokens of their prompts, in the order they came.
    waiting: VecDeque<(Slot, DescribeRequest, Vec<u32>)>,
    under_way: BTreeMap<Slot, Captioning>,
    scratch: SamplingScratch,
    seeds: fastrand::Rng,
    pictures_read: u64,
}

impl Captioner {
    /// A model on `weights`, of which it copies none.
    pub(crate) fn new(weights: Arc<BlipWeights>) -> Self {
        Self {
            weights,
            waiting: VecDeque::new(),
            under_way: BTreeMap::new(),
            scratch: SamplingScratch::default(),
            seeds: fastrand::Rng::new(),
            pictures_read: 0,
        }
    }

    /// How many tokens could still be kept, and how many in all.
    pub(crate) fn free_tokens(&self) -> (usize, usize) {
        let kept: usize = self.under_way.values().map(Captioning::kept_tokens).sum();
        let all = self.weights.plan.cache_tokens();
        (all.saturating_sub(kept), all)
    }

    pub(crate) fn pictures_read(&self) -> u64 {
        self.pictures_read
    }

    /// How many rows of pictures are kept.
    pub(crate) fn held_rows(&self) -> usize {
        self.under_way.len() * self.weights.plan.config.picture_rows()
    }

    /// One token for every text under way.
    fn go_on(&mut self, out: &mut Outbox<Vision>) -> Result<(), ModelError> {
        let mut readings: Vec<Reading<'_>> = self.under_way.values_mut().map(Captioning::reading).collect();
        if readings.is_empty() {
            return Ok(());
        }
        let network = &self.weights.network;
        let logits =
            threads::awake(|| network.go_on(&mut readings).and_then(|logits| logits.to_vec2::<f32>()));
        let logits = logits.map_err(ModelError::failed)?;
        let (mut rest, slots) = (logits.as_slice(), self.under_way.keys().copied().collect::<Vec<_>>());
        for slot in slots {
            let own = rest.len().min(self.under_way[&slot].open());
            let (rows, others) = rest.split_at(own);
            rest = others;
            self.take(slot, rows, out);
        }
        Ok(())
    }

    /// Gives a request's texts their next tokens; ends it where those were the last.
    fn take(&mut self, slot: Slot, rows: &[Vec<f32>], out: &mut Outbox<Vision>) {
        let Some(captioning) = self.under_way.get_mut(&slot) else { return };
        let mut rows = rows.iter();
        match captioning.take(|| rows.next().map(Vec::as_slice), &self.weights, &mut self.scratch) {
            Ok(tokens) => tokens.into_iter().for_each(|token| out.event(slot, token)),
            Err(error) => {
                self.under_way.remove(&slot);
                return out.fail(slot, error);
            }
        }
        if captioning.open() == 0 {
            let captioning = self.under_way.remove(&slot).expect("it was just looked at");
            out.finish(slot, captioning.into_completion());
        }
    }

    /// Lets whoever waits longest join those under way.
    fn begin(&mut self, out: &mut Outbox<Vision>) {
        let Some((slot, request, prompt)) = self.waiting.pop_front() else { return };
        if let Err(error) = self.see(slot, request, prompt, out) {
            out.fail(slot, error);
        }
    }

    /// Sees a picture and reads its prompt. All of the request's texts draw their first token from the same logits.
    fn see(
        &mut self,
        slot: Slot,
        request: DescribeRequest,
        prompt: Vec<u32>,
        out: &mut Outbox<Vision>,
    ) -> Result<(), ModelError> {
        let weights = self.weights.clone();
        let picture = weights.see(only(&request)?)?;
        self.pictures_read += 1;
        let read: candle_core::Result<_> = threads::awake(|| {
            let (memory, logits) = weights.network.begin(&prompt, &picture)?;
            Ok((memory, logits.to_vec2::<f32>()?))
        });
        let (memory, logits) = read.map_err(ModelError::failed)?;
        let rows = vec![logits.concat(); request.generate.n];
        let seed = self.seeds.u64(..);
        let captioning = Captioning::new(&weights, request.generate, prompt, picture, &memory, seed);
        self.under_way.insert(slot, captioning);
        self.take(slot, &rows, out);
        Ok(())
    }
}

/// The picture of a request that was found to have one.
fn only(request: &DescribeRequest) -> Result<&ImageSource, InvalidRequest> {
    request.images.first().ok_or_else(|| InvalidRequest::new("images", "there is none"))
}

impl Model<Vision> for Captioner {
    fn capacity(&self) -> Capacity {
        self.weights.plan.capacity()
    }

    fn admit(&mut self, slot: Slot, request: DescribeRequest, _: &JobContext) -> Result<(), ModelError> {
        self.weights.plan.check(&request)?;
        let text = match &request.generate.prompt {
            Prompt::Raw(text) => text.as_str(),
            Prompt::Chat(_) => "",
        };
        let prompt = self.weights.prompt(text, request.generate.max_tokens)?;
        self.waiting.push_back((slot, request, prompt));
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<Vision>) -> Result<(), ModelError> {
        self.go_on(out)?;
        self.begin(out);
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.waiting.retain(|(waiting, ..)| *waiting != slot);
        self.under_way.remove(&slot);
    }
}
