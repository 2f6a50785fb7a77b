//! A network that works off its scheduler's plans: one worker's texts, step by step, as token ids.

use std::sync::Arc;

use candle_core::{CpuStorage, Storage, Tensor};

use super::inlays::Inlays;
use super::network::{KvCache, Network, StepText};
use super::scheduler::{Limits, Place, Scheduler, Share, TextId};
use crate::capability::ModelError;
use crate::kernels::{KvFormat, PagedText, threads};

/// The texts of one worker, and their keys and values.
#[derive(Debug)]
pub(super) struct Runner {
    network: Arc<Network>,
    cache: KvCache,
    /// Texts are admitted to it and ended in it. All their tokens must be in the vocabulary, or in `inlays`.
    pub(super) scheduler: Scheduler,
    pub(super) inlays: Inlays,
}

/// What a text's next token may be.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) text: TextId,
    /// One number for each token of the vocabulary.
    pub(super) logits: &'a [f32],
}

/// The logits of a step, for those of its texts that have been read to their ends.
#[derive(Debug, Default)]
pub(super) struct Sayings {
    texts: Vec<TextId>,
    /// `[texts, vocabulary]`, unless there are none.
    logits: Option<Tensor>,
}

impl Sayings {
    /// Each text with its logits, in the order of the step.
    pub(super) fn each(&self, mut tell: impl FnMut(Said<'_>)) -> Result<(), ModelError> {
        let Some(logits) = &self.logits else { return Ok(()) };
        let (storage, layout) = logits.storage_and_layout();
        let (Storage::Cpu(CpuStorage::F32(numbers)), Some((start, end))) =
            (&*storage, layout.contiguous_offsets())
        else {
            return Err(ModelError::failed("logits are not f32 on the CPU"));
        };
        let rows = numbers[start..end].chunks_exact(layout.dims()[1].max(1));
        self.texts.iter().zip(rows).for_each(|(text, logits)| tell(Said { text: *text, logits }));
        Ok(())
    }
}

impl Runner {
    /// With room for so many rows of pictures.
    pub(super) fn new(network: Arc<Network>, limits: Limits, kv: KvFormat, inlays: usize) -> Self {
        let config = network.body().config();
        let cache = KvCache::new(config, limits.blocks, kv);
        let inlays = Inlays::new(config.vocab_size, config.hidden_size, inlays);
        Self { network, cache, scheduler: Scheduler::new(limits), inlays }
    }

    /// Computes one step. Every text that is said something of must get its next token, or end, before the
    /// next step. After an error nothing is known of the texts' keys and values: end them all.
    pub(super) fn step(&mut self) -> Result<Sayings, ModelError> {
        let shares = self.scheduler.plan();
        if shares.is_empty() {
            return Ok(Sayings::default());
        }
        let sayings = threads::awake(|| self.compute(&shares)).map_err(ModelError::failed)?;
        self.scheduler.computed(&shares);
        Ok(sayings)
    }

    /// What goes in: for tokens their vectors, for the other ids rows of pictures, as they are.
    fn vectors(&self, mut ids: Vec<u32>) -> candle_core::Result<Tensor> {
        let body = self.network.body();
        let vocabulary = body.config().vocab_size;
        let inlaid = |(at, id): (usize, &u32)| (*id as usize >= vocabulary).then_some((at, *id));
        let inlaid: Vec<(usize, u32)> = ids.iter().enumerate().filter_map(inlaid).collect();
        if inlaid.is_empty() {
            return body.vectors(&ids);
        }
        inlaid.iter().for_each(|(at, _)| ids[*at] = 0);
        let xs = body.vectors(&ids)?;
        let (shape, width) = (xs.shape().clone(), body.config().hidden_size);
        let mut xs = xs.flatten_all()?.to_vec1::<f32>()?;
        for (at, id) in inlaid {
            let Some(row) = self.inlays.row(id) else { candle_core::bail!("the rows of id {id} are gone") };
            xs[at * width..][..width].copy_from_slice(row);
        }
        Tensor::from_vec(xs, shape, &candle_core::Device::Cpu)
    }

    fn compute(&mut self, shares: &[Share]) -> candle_core::Result<Sayings> {
        let scheduler = &self.scheduler;
        let ids: Vec<u32> = shares.iter().flat_map(|share| scheduler.tokens(share)).copied().collect();
        let places: Vec<Option<Vec<Place>>> = shares.iter().map(|share| scheduler.places(share)).collect();
        let texts: Vec<StepText<'_>> = shares
            .iter()
            .zip(&places)
            .map(|(share, places)| StepText {
                paged: PagedText {
                    tokens: share.tokens,
                    position: share.position,
                    blocks: scheduler.blocks_of(share.text),
                    together: scheduler.together(share.text),
                },
                stretched: scheduler.is_stretched(share.text),
                places: places.as_deref(),
            })
            .collect();
        let xs = self.vectors(ids)?;
        let hidden = self.network.body().forward(xs, &texts, &mut self.cache)?;
        let (mut rows, mut said, mut end) = (Vec::new(), Vec::new(), 0);
        for share in shares {
            end += share.tokens;
            if share.says {
                rows.push(end as u32 - 1);
                said.push(share.text);
            }
        }
        if rows.is_empty() {
            return Ok(Sayings::default());
        }
        let logits = Some(self.network.logits(&hidden, &rows)?);
        Ok(Sayings { texts: said, logits })
    }
}
