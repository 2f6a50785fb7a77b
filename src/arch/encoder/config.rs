//! What an encoder is made of, whichever family's `config.json` says so.

use super::layout::Layout;
use crate::arch::activation::activation_called;
use crate::arch::bounds::{bad, layers_within, within};
use crate::arch::{ArchError, Architecture, Bias};
use crate::kernels::{Activation, RopeStyle};

/// The shape of a network: what each family's configuration comes down to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EncoderConfig {
    /// The family.
    pub architecture: Architecture,
    /// How many different tokens there are.
    pub vocab_size: usize,
    /// The width of a token's vector.
    pub hidden_size: usize,
    /// How many parts attention looks at separately; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// The width inside the feed-forward part of a layer.
    pub intermediate_size: usize,
    /// How many tokens a text can have.
    pub max_positions: usize,
    /// What each layer's attention sees: as many as there are layers.
    pub(crate) layers: Vec<Sight>,
    pub(crate) segments: Segments,
    pub(crate) places: Option<Places>,
    /// How many kinds of distance have a bias of their own, in each head.
    pub(crate) distances: Option<usize>,
    pub(crate) norms: Norms,
    pub(crate) norm_eps: f64,
    pub(crate) biases: Biases,
    pub(crate) activation: Activation,
    pub(crate) gate: Gate,
    /// How checkpoints call the tensors; where there are several ways, the first that fits is taken.
    pub(crate) layouts: &'static [Layout],
}

/// The numbers that every family's configuration has under one name or another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) max_position_embeddings: usize,
}

/// What a layer's attention sees of a text, and how it knows where things are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sight {
    /// How many tokens it sees on either side; `None`: all.
    pub(crate) window: Option<usize>,
    pub(crate) rotary: Option<Rotary>,
}

/// Positions as angles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rotary {
    pub(crate) base: f64,
    /// How many numbers of a head are turned.
    pub(crate) turned: usize,
    pub(crate) style: RopeStyle,
}

/// The vectors of a token's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segments {
    /// There are none.
    Absent,
    /// There are so many, but all tokens are in the first.
    First(usize),
    /// There are so many, and the tokenizer says which.
    Given(usize),
}

/// Learned vectors for a token's place in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// How many there are.
    pub(crate) rows: usize,
    /// The token that fills up texts, where counting begins behind its own number and leaves it out.
    pub(crate) padding: Option<u32>,
}

/// Where a layer normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norms {
    /// The sum of a part's input and output.
    After,
    /// A part's input, but not the first layer's, and once more at the very end.
    Before,
}

/// Which linear layers and norms add a vector of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Biases {
    pub(crate) norm: Bias,
    pub(crate) qkv: Bias,
    pub(crate) attention_output: Bias,
    pub(crate) up: Bias,
    pub(crate) down: Bias,
}

impl Biases {
    /// All of them or none.
    pub(crate) const fn all(bias: Bias) -> Self {
        Self { norm: bias, qkv: bias, attention_output: bias, up: bias, down: bias }
    }
}

/// Whether the feed-forward part computes twice its width and multiplies one half by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Absent,
    Present,
}

impl Sizes {
    /// Checks every number against what a real model may have, so that nothing that is allocated or divided
    /// by afterwards is absurd.
    fn check(&self) -> Result<(), ArchError> {
        within("vocab_size", self.vocab_size, 1..=4 << 20)?;
        let (layers, heads) = (self.num_hidden_layers, self.num_attention_heads);
        layers_within(self.hidden_size, layers, heads, self.intermediate_size)?;
        within("max_position_embeddings", self.max_position_embeddings, 1..=1 << 20)?;
        Ok(())
    }

    /// The width of one attention head, of sizes that were checked.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

impl EncoderConfig {
    /// A network in BERT's manner, of which the other families then change what they do otherwise: learned
    /// places, no segments, norms behind, biases everywhere, no gate.
    ///
    /// # Errors
    ///
    /// [`ArchError::BadConfig`] for numbers that no real model has.
    pub(crate) fn like_bert(
        architecture: Architecture,
        sizes: Sizes,
        norm_eps: f64,
        activation: &str,
        layouts: &'static [Layout],
    ) -> Result<Self, ArchError> {
        sizes.check()?;
        if !(0.0..1.0).contains(&norm_eps) {
            return Err(bad("layer_norm_eps", norm_eps, "it must be in 0..1".to_owned()));
        }
        let positions = sizes.max_position_embeddings;
        Ok(Self {
            architecture,
            vocab_size: sizes.vocab_size,
            hidden_size: sizes.hidden_size,
            num_attention_heads: sizes.num_attention_heads,
            intermediate_size: sizes.intermediate_size,
            max_positions: positions,
            layers: vec![Sight::default(); sizes.num_hidden_layers],
            segments: Segments::Absent,
            places: Some(Places { rows: positions, padding: None }),
            distances: None,
            norms: Norms::After,
            norm_eps,
            biases: Biases::all(Bias::Present),
            activation: activation_called(activation)?,
            gate: Gate::Absent,
            layouts,
        })
    }

    /// Counts places as fairseq did: from behind the padding token's number, so that a text has that many
    /// places fewer.
    pub(crate) fn counting_from(mut self, padding: usize) -> Result<Self, ArchError> {
        within("pad_token_id", padding, 0..=self.vocab_size - 1)?;
        let rows = self.max_positions;
        within("max_position_embeddings", rows, padding + 2..=1 << 20)?;
        self.max_positions = rows - padding - 1;
        self.places = Some(Places { rows, padding: Some(padding as u32) });
        Ok(self)
    }

    /// How many layers.
    pub fn num_hidden_layers(&self) -> usize {
        self.layers.len()
    }

    /// The width of one attention head.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The width of what the first linear layer of the feed-forward part makes.
    pub(crate) fn up_size(&self) -> usize {
        match self.gate {
            Gate::Absent => self.intermediate_size,
            Gate::Present => 2 * self.intermediate_size,
        }
    }
}

impl Rotary {
    /// Angles of `base` for the first `fraction` of each head.
    pub(crate) fn new(
        base: f64,
        fraction: f64,
        style: RopeStyle,
        head_size: usize,
    ) -> Result<Self, ArchError> {
        if !(1.0..=1e12).contains(&base) {
            return Err(bad("rope_theta", base, "it must be in 1..=1e12".to_owned()));
        }
        let turned = (head_size as f64 * fraction) as usize;
        if !(0.0..=1.0).contains(&fraction) || turned == 0 || !turned.is_multiple_of(2) {
            let expected = format!("an even part of a head's {head_size} numbers must be turned");
            return Err(bad("rotary_emb_fraction", fraction, expected));
        }
        Ok(Self { base, turned, style })
    }
}
