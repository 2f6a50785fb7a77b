//! The network: tokens of many texts in, vectors and logits out.
//!
//! Reference: `transformers/models/llama/modeling_llama.py` and its kin. Computes in f32; `tokens` below is
//! the sum over all texts of a step.

use candle_core::{DType, Device, Result, Tensor};

use super::config::{DecoderConfig, ExpertsConfig, FeedForwardConfig, RopeConfig};
use super::gguf::GgufTensors;
use super::layer::{Layer, Surroundings, norm};
use super::plan::DecoderOptions;
use super::projection::{Projection, Table};
use super::scheduler::Place;
use super::tensors::{Checkpoint, Tensors};
use super::weight_format::WeightFormat;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Angles, KvFormat, Norm, PagedKv, PagedText};
use crate::weights::{ModelFiles, WeightStore};

/// A decoder's weights: what all workers of a model share.
#[derive(Debug)]
pub(super) struct Network {
    body: Body,
    /// None where the table is the head.
    head: Option<Projection>,
}

/// A decoder without its head: from tokens to vectors.
#[derive(Debug)]
pub(crate) struct Body {
    config: DecoderConfig,
    table: Table,
    layers: Vec<Layer>,
    norm: Norm,
}

/// Keys and values: one worker's, a set of blocks per layer, or one set for all.
#[derive(Debug)]
pub(super) struct KvCache {
    layers: Vec<PagedKv>,
}

impl KvCache {
    /// Room for `blocks` blocks of every layer.
    pub(super) fn new(config: &DecoderConfig, blocks: usize, format: KvFormat) -> Self {
        let layer = |_| PagedKv::new(format, blocks, config.kv_heads, config.head_size);
        Self { layers: config.layers.iter().map(layer).collect() }
    }

    /// `blocks` blocks that the layers use in turn, for texts that are read in one step and not kept.
    pub(super) fn passing(config: &DecoderConfig, blocks: usize) -> Self {
        Self { layers: vec![PagedKv::new(KvFormat::F32, blocks, config.kv_heads, config.head_size)] }
    }

    fn of_layer(&mut self, layer: usize) -> &mut PagedKv {
        let last = self.layers.len() - 1;
        &mut self.layers[layer.min(last)]
    }

    /// How many bytes the blocks of all layers take.
    pub(super) fn bytes(config: &DecoderConfig, blocks: usize, format: KvFormat) -> u64 {
        let numbers = PagedKv::numbers(blocks, config.kv_heads, config.head_size) as u64;
        numbers.saturating_mul(format.bytes() as u64).saturating_mul(config.layers.len() as u64)
    }
}

/// One text's share of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepText<'a> {
    pub(super) paged: PagedText<'a>,
    /// Whether the text is so long that its positions are stretched.
    pub(super) stretched: bool,
    /// Where the tokens are, if that is not told by their order.
    pub(super) places: Option<&'a [Place]>,
}

impl Network {
    /// Reads the tensors of a folder or a GGUF file whose configuration `config` is.
    pub(super) fn read(
        files: &ModelFiles,
        config: DecoderConfig,
        options: DecoderOptions,
    ) -> std::result::Result<Self, ArchError> {
        let format = WeightFormat::of(options);
        match files {
            ModelFiles::Folder(folder) => {
                let store = WeightStore::open(&folder.weight_files()?, DType::F32, &Device::Cpu)?;
                let root = Scope::root(&store, options.dtype.precision());
                let named = config.clone();
                Self::load(&Checkpoint::new(root, &named, format), config)
            }
            ModelFiles::Gguf(file) => Self::load(&GgufTensors::new(file, format), config),
        }
    }

    fn load(tensors: &impl Tensors, config: DecoderConfig) -> std::result::Result<Self, ArchError> {
        let (tokens, width) = (config.vocab_size, config.hidden_size);
        let (table, head) = if config.tied {
            (Table::Weights(tensors.tied(tokens, width)?), None)
        } else {
            (tensors.table(tokens, width)?, Some(tensors.head(width, tokens)?))
        };
        Ok(Self { body: Body::on(table, tensors, config)?, head })
    }

    pub(super) fn body(&self) -> &Body {
        &self.body
    }

    /// The logits of some of the rows that [`Body::forward`] gave: `[rows, vocabulary]`.
    pub(super) fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let hidden = hidden.index_select(&Tensor::new(rows, hidden.device())?, 0)?;
        let hidden = self.body.normalised(&hidden)?;
        let logits = match &self.head {
            Some(head) => head.forward(&hidden)?,
            None => self.body.table.logits(&hidden)?,
        };
        match self.body.config.logit_cap {
            Some(cap) => logits.affine(cap.recip(), 0.0)?.tanh()?.affine(cap, 0.0),
            None => Ok(logits),
        }
    }
}

impl Body {
    pub(super) fn load(
        tensors: &impl Tensors,
        config: DecoderConfig,
    ) -> std::result::Result<Self, ArchError> {
        Self::on(tensors.table(config.vocab_size, config.hidden_size)?, tensors, config)
    }

    fn on(
        table: Table,
        tensors: &impl Tensors,
        config: DecoderConfig,
    ) -> std::result::Result<Self, ArchError> {
        let layers = (0..config.layers.len()).map(|index| Layer::load(tensors, &config, index));
        let layers = layers.collect::<std::result::Result<_, _>>()?;
        let norm = norm(&tensors.last_norm(config.hidden_size)?, &config)?;
        Ok(Self { config, table, layers, norm })
    }

    pub(super) fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// What goes in for tokens, `[ids, hidden]`. All are below the vocabulary's size.
    pub(super) fn vectors(&self, ids: &[u32]) -> Result<Tensor> {
        let rows = self.table.rows(ids)?;
        match self.config.embedding_scale {
            Some(scale) => rows.affine(scale, 0.0),
            None => Ok(rows),
        }
    }

    /// One vector per token, `[tokens, hidden]`, before the last norm, from what goes in for each: `[tokens,
    /// hidden]`, by [`vectors`](Self::vectors) or of another kind. The texts' keys and values up to here are in
    /// `cache`; those of the step's tokens are put there.
    pub(super) fn forward(
        &self,
        mut xs: Tensor,
        texts: &[StepText<'_>],
        cache: &mut KvCache,
    ) -> Result<Tensor> {
        let angles: Vec<Angles> = self.config.ropes.iter().map(|rope| angles(rope, texts)).collect();
        let paged: Vec<PagedText<'_>> = texts.iter().map(|text| text.paged).collect();
        let around = Surroundings { texts: &paged, angles: &angles };
        for (index, layer) in self.layers.iter().enumerate() {
            xs = layer.forward(&xs, around, cache.of_layer(index))?;
        }
        Ok(xs)
    }

    /// Rows that [`forward`](Self::forward) gave, after the last norm.
    pub(super) fn normalised(&self, hidden: &Tensor) -> Result<Tensor> {
        self.norm.forward(hidden)
    }
}

/// By how much each token of the step is turned.
fn angles(rope: &RopeConfig, texts: &[StepText<'_>]) -> Angles {
    let mut angles = Angles::new(rope.frequencies.len());
    for text in texts {
        let frequencies = match &rope.stretched {
            Some(stretched) if text.stretched => &stretched.frequencies,
            _ => &rope.frequencies,
        };
        let first = text.paged.position;
        let positions = first..first + text.paged.tokens;
        match (rope.sections, text.places) {
            (Some(sections), Some(places)) => {
                places.iter().for_each(|place| angles.push_place(*place, sections, frequencies, rope.scale));
            }
            _ => positions.for_each(|position| angles.push(position, frequencies, rope.scale)),
        }
    }
    angles
}

/// How many numbers gate, up and their product are of one token, in the layer where they are most.
pub(super) fn widest_feed_forward(config: &DecoderConfig) -> usize {
    let widths = config.layers.iter().map(|layer| match layer.feed_forward {
        FeedForwardConfig::Dense { width } => 3 * width,
        FeedForwardConfig::Experts(ExpertsConfig { chosen, width, .. }) => 3 * chosen * width,
    });
    widths.max().unwrap_or(0)
}
