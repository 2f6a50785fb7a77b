//! How checkpoints call an encoder's tensors.

use super::config::{EncoderConfig, Gate};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::Linear;

/// The names of a network's parts. A table's or a linear layer's numbers are under `<name>.weight`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// What the network is called inside larger ones that checkpoints were saved from.
    pub(crate) inside: &'static [&'static str],
    pub(crate) words: &'static str,
    pub(crate) places: &'static str,
    pub(crate) segments: &'static str,
    pub(crate) embedding_norm: &'static str,
    /// The biases by distance.
    pub(crate) distances: &'static str,
    /// The list of layers; the names below are inside one of them.
    pub(crate) layers: &'static str,
    pub(crate) qkv: Qkv,
    pub(crate) attention_output: &'static str,
    pub(crate) attention_norm: &'static str,
    pub(crate) up: Up,
    pub(crate) down: &'static str,
    pub(crate) output_norm: &'static str,
    /// Outside the layers again.
    pub(crate) final_norm: &'static str,
}

/// Query, key and value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Qkv {
    Joined(&'static str),
    Apart([&'static str; 3]),
}

impl Qkv {
    /// The layers in `layer` as one: `[width]` to `[3 x width]`.
    pub(crate) fn load(self, layer: &Scope<'_>, width: usize, bias: Bias) -> Result<Linear, ArchError> {
        match self {
            Self::Joined(name) => layer.linear(name, width, 3 * width, bias),
            Self::Apart(names) => layer.joined(names, width, [width; 3], bias),
        }
    }
}

/// The first linear layer of the feed-forward part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Up {
    /// One, twice as wide where there is a gate: the half that is activated, then the other.
    Joined(&'static str),
    /// The half that is activated, and the other.
    Apart([&'static str; 2]),
}

impl Layout {
    /// The names of BERT.
    pub(crate) const BERT: Self = Self {
        inside: &["bert"],
        words: "embeddings.word_embeddings",
        places: "embeddings.position_embeddings",
        segments: "embeddings.token_type_embeddings",
        embedding_norm: "embeddings.LayerNorm",
        distances: "encoder.relative_attention_bias",
        layers: "encoder.layer",
        qkv: Qkv::Apart(["attention.self.query", "attention.self.key", "attention.self.value"]),
        attention_output: "attention.output.dense",
        attention_norm: "attention.output.LayerNorm",
        up: Up::Joined("intermediate.dense"),
        down: "output.dense",
        output_norm: "output.LayerNorm",
        final_norm: "final_norm",
    };

    /// The layout of the checkpoint and where in it the network lies: the first whose words and layers are
    /// there. If none is, the first, so that what is missing will be told.
    pub(crate) fn find<'a>(layouts: &'static [Self], root: &Scope<'a>) -> (&'static Self, Scope<'a>) {
        let found = layouts.iter().map(|layout| (layout, layout.place(root)));
        let fits = |(layout, scope): &(&Self, Scope<'_>)| {
            scope.sub(layout.layers).sub(0).contains(&format!("{}.weight", layout.down))
        };
        found.clone().find(fits).or_else(|| found.clone().next()).expect("every family has a layout")
    }

    /// The part of `root` where the words are.
    fn place<'a>(&self, root: &Scope<'a>) -> Scope<'a> {
        let words = format!("{}.weight", self.words);
        self.inside.iter().fold(root.clone(), |scope, name| scope.sub_if(name, &words))
    }

    /// Query, key and value as one: `[hidden]` to `[3 x hidden]`.
    pub(crate) fn load_qkv(&self, layer: &Scope<'_>, config: &EncoderConfig) -> Result<Linear, ArchError> {
        self.qkv.load(layer, config.hidden_size, config.biases.qkv)
    }

    /// The first linear layer of the feed-forward part: `[hidden]` to the config's `up_size`.
    pub(crate) fn load_up(&self, layer: &Scope<'_>, config: &EncoderConfig) -> Result<Linear, ArchError> {
        let (width, inner, bias) = (config.hidden_size, config.intermediate_size, config.biases.up);
        match (self.up, config.gate) {
            (Up::Joined(name), _) => layer.linear(name, width, config.up_size(), bias),
            (Up::Apart(names), Gate::Present) => layer.joined(names, width, [inner; 2], bias),
            (Up::Apart([only, _]), Gate::Absent) => layer.linear(only, width, inner, bias),
        }
    }
}
