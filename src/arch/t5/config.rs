//! The part of T5's `config.json` that is about its encoder.

use std::num::NonZeroUsize;

use serde::Deserialize;

use crate::arch::activation::activation_called;
use crate::arch::bounds::{epsilon_within, not_supported, within};
use crate::arch::distances::Distances;
use crate::arch::encoder::{Gate, layer_numbers};
use crate::arch::{ArchError, read_required};
use crate::kernels::Activation;
use crate::weights::ModelFolder;

/// How long texts may be: what the networks that draw take at most, and what it was trained on.
pub(crate) const MAX_TOKENS: usize = 512;

/// The shape of an encoder.
#[derive(Clone, Debug)]
pub(crate) struct T5Config {
    /// How many different tokens there are.
    pub(crate) vocab_size: usize,
    /// The width of a token's vector.
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// The width of a head; that of all heads together need not be that of a token.
    pub(crate) head_size: usize,
    /// The width inside the feed-forward part of a layer.
    pub(crate) inner: usize,
    pub(crate) activation: Activation,
    pub(crate) gate: Gate,
    pub(crate) distances: Distances,
    pub(crate) norm_eps: f64,
}

#[derive(Debug, Deserialize)]
struct File {
    model_type: Option<String>,
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_heads: usize,
    #[serde(default = "usual_kinds")]
    relative_attention_num_buckets: usize,
    #[serde(default = "usual_far")]
    relative_attention_max_distance: usize,
    #[serde(default = "usual_eps")]
    layer_norm_epsilon: f64,
    #[serde(default = "usual_feed_forward")]
    feed_forward_proj: String,
}

fn usual_kinds() -> usize {
    32
}

fn usual_far() -> usize {
    128
}

fn usual_eps() -> f64 {
    1e-6
}

fn usual_feed_forward() -> String {
    "relu".to_owned()
}

impl T5Config {
    /// Reads the folder's `config.json`.
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        read_required::<File>(folder, "config.json")?.lower()
    }

    /// How many numbers the weights of all linear layers are.
    pub(crate) fn linear_numbers(&self) -> u64 {
        let (width, inner) = (self.width as u64, self.inner as u64);
        let layer = 4 * width * self.all_heads() as u64 + (self.ups() + 1) as u64 * width * inner;
        layer.saturating_mul(self.layers as u64)
    }

    /// How many numbers a pass of one text of `length` tokens holds at most on so many threads.
    pub(crate) fn pass_numbers(&self, length: usize, threads: NonZeroUsize) -> u64 {
        let heads = self.width.max(self.all_heads()).div_ceil(self.head_size);
        // What goes up, and once more what the gate makes of it.
        let inner = if self.gate == Gate::Present { 3 * self.inner } else { self.inner };
        layer_numbers(length, length, (heads, self.head_size), inner, threads)
    }

    /// The width of all heads together.
    pub(super) fn all_heads(&self) -> usize {
        self.heads * self.head_size
    }

    /// How many linear layers go up in a feed-forward part.
    pub(super) fn ups(&self) -> usize {
        if self.gate == Gate::Present { 2 } else { 1 }
    }
}

impl File {
    fn lower(self) -> Result<T5Config, ArchError> {
        if let Some(other) = self.model_type.filter(|name| name != "t5") {
            return Err(not_supported("model_type", &other, &["t5"]));
        }
        within("vocab_size", self.vocab_size, 1..=4 << 20)?;
        within("d_model", self.d_model, 1..=16_384)?;
        within("d_kv", self.d_kv, 1..=1024)?;
        within("d_ff", self.d_ff, 1..=131_072)?;
        within("num_layers", self.num_layers, 1..=512)?;
        within("num_heads", self.num_heads, 1..=1024)?;
        within("relative_attention_num_buckets", self.relative_attention_num_buckets, 4..=1024)?;
        let exact = self.relative_attention_num_buckets / 4;
        within("relative_attention_max_distance", self.relative_attention_max_distance, exact + 1..=1 << 20)?;
        epsilon_within(self.layer_norm_epsilon)?;
        let (activation, gate) = feed_forward_called(&self.feed_forward_proj)?;
        Ok(T5Config {
            vocab_size: self.vocab_size,
            width: self.d_model,
            layers: self.num_layers,
            heads: self.num_heads,
            head_size: self.d_kv,
            inner: self.d_ff,
            activation,
            gate,
            distances: Distances {
                kinds: self.relative_attention_num_buckets,
                far: self.relative_attention_max_distance,
            },
            norm_eps: self.layer_norm_epsilon,
        })
    }
}

/// `relu`, or `gated-` and a function's name.
fn feed_forward_called(name: &str) -> Result<(Activation, Gate), ArchError> {
    match name.strip_prefix("gated-") {
        // This name, and in no other place, is GELU with tanh.
        Some("gelu") => Ok((Activation::GeluTanh, Gate::Present)),
        Some(function) => Ok((activation_called(function)?, Gate::Present)),
        None => Ok((activation_called(name)?, Gate::Absent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T5 XXL, as it reads prompts for SD3 and FLUX, but for what `change` says.
    fn xxl(change: &str) -> Result<T5Config, ArchError> {
        let mut file = serde_json::json!({
            "model_type": "t5", "vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240,
            "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu",
        });
        if let serde_json::Value::Object(change) = serde_json::from_str(change).unwrap() {
            file.as_object_mut().unwrap().extend(change);
        }
        serde_json::from_value::<File>(file).unwrap().lower()
    }

    #[test]
    fn the_largest_has_as_many_numbers_as_it_is_known_for() {
        let config = xxl("{}").unwrap();
        assert_eq!(config.linear_numbers(), 4_630_511_616);
        assert_eq!((config.activation, config.gate), (Activation::GeluTanh, Gate::Present));
        let plain = xxl(r#"{"feed_forward_proj": "relu"}"#).unwrap();
        assert_eq!((plain.activation, plain.gate), (Activation::Relu, Gate::Absent));
    }

    #[test]
    fn numbers_out_of_bounds_are_named() {
        for (field, found) in [
            ("num_heads", "0"),
            ("d_kv", "0"),
            ("d_model", "9999999999"),
            ("num_layers", "100000"),
            ("vocab_size", "0"),
            ("d_ff", "18446744073709551615"),
            ("relative_attention_num_buckets", "3"),
            ("relative_attention_max_distance", "8"),
            ("layer_norm_epsilon", "-1.0"),
        ] {
            match xxl(&format!(r#"{{"{field}": {found}}}"#)) {
                Err(ArchError::BadConfig { field: named, .. }) => {
                    assert!(named == field || field == "layer_norm_epsilon", "{named} for {field}");
                }
                other => panic!("{field} of {found}: {other:?}"),
            }
        }
        for change in [r#"{"model_type": "umt5"}"#, r#"{"feed_forward_proj": "gated-what"}"#] {
            assert!(matches!(xxl(change), Err(ArchError::Unsupported { .. })), "{change}");
        }
    }
}
