//! One layer: attention, then the feed-forward part, each added to what came in.

use candle_core::{Result, Tensor};

use super::config::{DecoderConfig, FeedForwardConfig, HeadNorm, LayerConfig, NormPlaces};
use super::experts::Experts;
use super::names::Part;
use super::projection::Projection;
use super::tensors::Tensors;
use crate::arch::ArchError;
use crate::kernels::{
    Activation, Angles, Norm, PagedAttention, PagedKv, PagedText, RopeStyle, RowNorms, add, gate,
};

/// A layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    attention_norm: Option<Norm>,
    /// Query, key and value as one.
    qkv: Projection,
    attention: PagedAttention,
    /// Which of the step's angles turn its queries and keys.
    rope: Option<usize>,
    output: Projection,
    attention_post_norm: Option<Norm>,
    feed_forward_norm: Option<Norm>,
    feed_forward: FeedForward,
    feed_forward_post_norm: Option<Norm>,
}

/// What a step's tokens have in common for all layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) texts: &'a [PagedText<'a>],
    /// One for each rope of the network.
    pub(super) angles: &'a [Angles],
}

#[derive(Debug)]
enum FeedForward {
    Dense(GatedUnit),
    Experts(Experts),
}

/// `down(activation(gate x) * up x)`.
#[derive(Debug)]
pub(super) struct GatedUnit {
    /// Both as one.
    pub(super) gate_up: Projection,
    pub(super) down: Projection,
    pub(super) activation: Activation,
}

impl GatedUnit {
    /// `[rows, hidden]` to the same.
    pub(super) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.down.forward(&gate(&self.gate_up.forward(xs)?, self.activation)?)
    }
}

impl Layer {
    pub(super) fn load(
        tensors: &impl Tensors,
        config: &DecoderConfig,
        index: usize,
    ) -> std::result::Result<Self, ArchError> {
        let layer = &config.layers[index];
        let width = config.hidden_size;
        let norm = |part: Part| {
            let wanted = match part {
                Part::AttentionNorm | Part::FeedForwardNorm => config.norms != NormPlaces::After,
                _ => config.norms != NormPlaces::Before,
            };
            wanted.then(|| norm(&tensors.norm(index, part, width)?, config)).transpose()
        };
        let output_parts = [Part::AttentionOutput];
        Ok(Self {
            attention_norm: norm(Part::AttentionNorm)?,
            qkv: load_qkv(tensors, config, index)?,
            attention: load_attention(tensors, config, layer, index)?,
            rope: layer.rope,
            output: tensors.linear(index, output_parts, config.query_width(), [width], config.output_bias)?,
            attention_post_norm: norm(Part::AttentionPostNorm)?,
            feed_forward_norm: norm(Part::FeedForwardNorm)?,
            feed_forward: load_feed_forward(tensors, config, layer.feed_forward, index)?,
            feed_forward_post_norm: norm(Part::FeedForwardPostNorm)?,
        })
    }

    /// `[tokens, hidden]` to the same.
    pub(super) fn forward(&self, xs: &Tensor, around: Surroundings<'_>, kv: &mut PagedKv) -> Result<Tensor> {
        let qkv = self.qkv.forward(&normalised(self.attention_norm.as_ref(), xs)?)?;
        let angles = self.rope.map(|rope| &around.angles[rope]);
        let attended = self.output.forward(&self.attention.forward(&qkv, angles, around.texts, kv)?)?;
        let xs = add(normalised(self.attention_post_norm.as_ref(), &attended)?, xs)?;
        let inner = normalised(self.feed_forward_norm.as_ref(), &xs)?;
        let inner = match &self.feed_forward {
            FeedForward::Dense(unit) => unit.forward(&inner)?,
            FeedForward::Experts(experts) => experts.forward(&inner)?,
        };
        add(normalised(self.feed_forward_post_norm.as_ref(), &inner)?, &xs)
    }
}

fn normalised(norm: Option<&Norm>, xs: &Tensor) -> Result<Tensor> {
    norm.map_or_else(|| Ok(xs.clone()), |norm| norm.forward(xs))
}

/// The norm with these stored weights.
pub(super) fn norm(weight: &Tensor, config: &DecoderConfig) -> std::result::Result<Norm, ArchError> {
    Ok(Norm::rms(&weight.affine(1.0, config.norm_offset)?, config.eps)?)
}

fn load_qkv(
    tensors: &impl Tensors,
    config: &DecoderConfig,
    index: usize,
) -> std::result::Result<Projection, ArchError> {
    let (query, kv) = (config.query_width(), config.kv_width());
    if config.joined {
        return tensors.linear(index, [Part::Qkv], config.hidden_size, [query + 2 * kv], config.qkv_bias);
    }
    let parts = [Part::Query, Part::Key, Part::Value];
    tensors.linear(index, parts, config.hidden_size, [query, kv, kv], config.qkv_bias)
}

fn load_attention(
    tensors: &impl Tensors,
    config: &DecoderConfig,
    layer: &LayerConfig,
    index: usize,
) -> std::result::Result<PagedAttention, ArchError> {
    let widths = match config.head_norm {
        HeadNorm::Absent => None,
        HeadNorm::PerHead => Some((config.head_size, config.head_size)),
        HeadNorm::Across => Some((config.query_width(), config.kv_width())),
    };
    let weights = |part: Part, width: usize| -> std::result::Result<Vec<f32>, ArchError> {
        Ok(tensors.norm(index, part, width)?.affine(1.0, config.norm_offset)?.to_vec1()?)
    };
    let norms = widths.map(|(query, key)| {
        let (query, key) = (weights(Part::QueryNorm, query)?, weights(Part::KeyNorm, key)?);
        Ok::<_, ArchError>(RowNorms { query, key, eps: config.eps as f32 })
    });
    Ok(PagedAttention {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_size: config.head_size,
        scale: config.attention_scale as f32,
        cap: config.attention_cap.map(|cap| cap as f32),
        direction: config.direction,
        window: layer.window,
        norms: norms.transpose()?,
        style: layer.rope.map_or(RopeStyle::Halves, |rope| config.ropes[rope].style),
    })
}

fn load_feed_forward(
    tensors: &impl Tensors,
    config: &DecoderConfig,
    shape: FeedForwardConfig,
    index: usize,
) -> std::result::Result<FeedForward, ArchError> {
    let width = match shape {
        FeedForwardConfig::Dense { width } => width,
        FeedForwardConfig::Experts(shape) => {
            return Ok(FeedForward::Experts(Experts::load(tensors, config, index, shape)?));
        }
    };
    let (hidden, bias) = (config.hidden_size, config.feed_forward_bias);
    let gate_up = if config.joined {
        tensors.linear(index, [Part::GateUp], hidden, [2 * width], bias)?
    } else {
        tensors.linear(index, [Part::Gate, Part::Up], hidden, [width; 2], bias)?
    };
    let down = tensors.linear(index, [Part::Down], width, [hidden], bias)?;
    Ok(FeedForward::Dense(GatedUnit { gate_up, down, activation: config.activation }))
}
