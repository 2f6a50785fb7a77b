//! `config.json` of SD3's and SD3.5's transformers.

use serde::Deserialize;

use super::config::{Frame, blocks_within, class_is};
use super::joint::Shape;
use crate::arch::bounds::{bad, not_supported, within};
use crate::arch::{ArchError, read_required};
use crate::weights::ModelFolder;

/// The shape of an SD3 transformer.
#[derive(Clone, Debug)]
pub(crate) struct Sd3Config {
    pub(crate) frame: Frame,
    /// For each block, whether its pictures attend to themselves once more.
    pub(crate) twice: Vec<bool>,
    /// Whether queries and keys are normalised.
    pub(crate) head_norms: bool,
    /// A picture has at most so many squares either way.
    pub(crate) places: usize,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct File {
    #[serde(rename = "_class_name")]
    class: Option<String>,
    patch_size: usize,
    in_channels: usize,
    out_channels: Option<usize>,
    num_layers: usize,
    attention_head_dim: usize,
    num_attention_heads: usize,
    joint_attention_dim: usize,
    caption_projection_dim: usize,
    pooled_projection_dim: usize,
    pos_embed_max_size: usize,
    dual_attention_layers: Vec<usize>,
    qk_norm: Option<String>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            class: None,
            patch_size: 2,
            in_channels: 16,
            out_channels: Some(16),
            num_layers: 18,
            attention_head_dim: 64,
            num_attention_heads: 18,
            joint_attention_dim: 4096,
            caption_projection_dim: 1152,
            pooled_projection_dim: 2048,
            pos_embed_max_size: 96,
            dual_attention_layers: Vec::new(),
            qk_norm: None,
        }
    }
}

impl Sd3Config {
    /// Reads the folder's `config.json`.
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        read_required::<File>(folder, "config.json")?.lower()
    }

    /// What each block has.
    pub(super) fn shapes(&self) -> impl Iterator<Item = Shape> + '_ {
        let last = self.twice.len() - 1;
        let shape = move |(i, twice): (usize, &bool)| Shape {
            head_norms: self.head_norms,
            twice: *twice,
            last: i == last,
        };
        self.twice.iter().enumerate().map(shape)
    }
}

impl File {
    fn lower(self) -> Result<Sd3Config, ArchError> {
        class_is(self.class.as_deref(), "SD3Transformer2DModel")?;
        let frame = Frame {
            heads: self.num_attention_heads,
            head_size: self.attention_head_dim,
            channels: self.in_channels,
            side: self.patch_size,
            token_width: self.joint_attention_dim,
            pooled_width: self.pooled_projection_dim,
        };
        let width = frame.check()?.width();
        // One half of a place's numbers tells the column, the other the row.
        if !width.is_multiple_of(2) {
            return Err(bad(
                "attention_head_dim",
                self.attention_head_dim,
                "all heads must have halves".into(),
            ));
        }
        within("caption_projection_dim", self.caption_projection_dim, width..=width)?;
        within("out_channels", self.out_channels.unwrap_or(frame.channels), frame.channels..=frame.channels)?;
        within("pos_embed_max_size", self.pos_embed_max_size, 1..=4096)?;
        blocks_within("num_layers", self.num_layers, 1)?;
        let mut twice = vec![false; self.num_layers];
        for layer in self.dual_attention_layers {
            within("dual_attention_layers", layer, 0..=self.num_layers - 1)?;
            twice[layer] = true;
        }
        let head_norms = match self.qk_norm.as_deref() {
            None => false,
            Some("rms_norm") => true,
            Some(other) => return Err(not_supported("qk_norm", other, &["rms_norm"])),
        };
        Ok(Sd3Config { frame, twice, head_norms, places: self.pos_embed_max_size })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::config::refused_by_name;
    use super::*;

    pub(crate) fn sd3(json: &str) -> Result<Sd3Config, ArchError> {
        serde_json::from_str::<File>(json).unwrap().lower()
    }

    #[test]
    fn numbers_out_of_bounds_are_named() {
        let wrong = [
            ("num_attention_heads", "0"),
            ("num_attention_heads", "18446744073709551615"),
            ("attention_head_dim", "0"),
            ("attention_head_dim", "9999999999"),
            ("patch_size", "0"),
            ("in_channels", "0"),
            ("out_channels", "32"),
            ("num_layers", "0"),
            ("num_layers", "1000000000"),
            ("joint_attention_dim", "0"),
            ("caption_projection_dim", "1536"),
            ("pooled_projection_dim", "0"),
            ("pos_embed_max_size", "0"),
            ("pos_embed_max_size", "1000000000"),
            ("dual_attention_layers", "[18]"),
        ];
        refused_by_name(sd3, &wrong);
        for change in [r#"{"qk_norm": "layer_norm"}"#, r#"{"_class_name": "FluxTransformer2DModel"}"#] {
            assert!(matches!(sd3(change), Err(ArchError::Unsupported { .. })), "{change}");
        }
        let odd = sd3(r#"{"attention_head_dim": 3, "num_attention_heads": 3, "caption_projection_dim": 9}"#);
        assert!(matches!(odd, Err(ArchError::BadConfig { field: "attention_head_dim", .. })), "{odd:?}");
    }
}
