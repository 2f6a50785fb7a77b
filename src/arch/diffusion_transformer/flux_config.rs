//! `config.json` of FLUX.1's transformers.

use serde::Deserialize;

use super::config::{Frame, blocks_within, class_is};
use super::joint::Shape;
use crate::arch::bounds::{bad, within};
use crate::arch::{ArchError, read_required};
use crate::weights::ModelFolder;

/// How many pixels wide and high a square is; a pipeline cuts them where the network reads ready ones.
const SIDE: usize = 2;

/// The shape of a FLUX transformer.
#[derive(Clone, Debug)]
pub(crate) struct FluxConfig {
    pub(crate) frame: Frame,
    /// How many blocks have layers of their own for texts.
    pub(crate) joint_blocks: usize,
    /// How many follow in which all tokens are alike.
    pub(crate) single_blocks: usize,
    /// Whether it was taught to be told how strongly to follow the prompt: dev was, schnell was not.
    pub(crate) guided: bool,
    /// How many numbers of a head tell of each axis: one that is not used, the row, the column.
    pub(crate) axes: [usize; 3],
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
    num_single_layers: usize,
    attention_head_dim: usize,
    num_attention_heads: usize,
    joint_attention_dim: usize,
    pooled_projection_dim: usize,
    guidance_embeds: bool,
    axes_dims_rope: [usize; 3],
}

impl Default for File {
    fn default() -> Self {
        Self {
            class: None,
            patch_size: 1,
            in_channels: 64,
            out_channels: None,
            num_layers: 19,
            num_single_layers: 38,
            attention_head_dim: 128,
            num_attention_heads: 24,
            joint_attention_dim: 4096,
            pooled_projection_dim: 768,
            guidance_embeds: false,
            axes_dims_rope: [16, 56, 56],
        }
    }
}

impl FluxConfig {
    /// What each joint block has.
    pub(super) const SHAPE: Shape = Shape { head_norms: true, twice: false, last: false };

    /// Reads the folder's `config.json`.
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        read_required::<File>(folder, "config.json")?.lower()
    }
}

impl File {
    fn lower(self) -> Result<FluxConfig, ArchError> {
        class_is(self.class.as_deref(), "FluxTransformer2DModel")?;
        within("patch_size", self.patch_size, 1..=1)?;
        // Those that fill in or follow a sketch read more than they write: pipelines of another kind.
        let (read, written) = (self.in_channels, self.out_channels.unwrap_or(self.in_channels));
        within("out_channels", written, read..=read)?;
        if !read.is_multiple_of(SIDE * SIDE) {
            return Err(bad("in_channels", read, format!("squares have {} pixels", SIDE * SIDE)));
        }
        let frame = Frame {
            heads: self.num_attention_heads,
            head_size: self.attention_head_dim,
            channels: read / (SIDE * SIDE),
            side: SIDE,
            token_width: self.joint_attention_dim,
            pooled_width: self.pooled_projection_dim,
        };
        frame.check()?;
        blocks_within("num_layers", self.num_layers, 0)?;
        blocks_within("num_single_layers", self.num_single_layers, 0)?;
        check_axes(self.axes_dims_rope, frame.head_size)?;
        Ok(FluxConfig {
            frame,
            joint_blocks: self.num_layers,
            single_blocks: self.num_single_layers,
            guided: self.guidance_embeds,
            axes: self.axes_dims_rope,
        })
    }
}

fn check_axes(axes: [usize; 3], head_size: usize) -> Result<(), ArchError> {
    let sum = axes.iter().fold(0usize, |sum, axis| sum.saturating_add(*axis));
    if sum == head_size && axes.iter().all(|axis| axis.is_multiple_of(2)) {
        return Ok(());
    }
    let expected = format!("they must be even and sum to attention_head_dim, {head_size}");
    Err(bad("axes_dims_rope", format!("{axes:?}"), expected))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::config::refused_by_name;
    use super::*;

    pub(crate) fn flux(json: &str) -> Result<FluxConfig, ArchError> {
        serde_json::from_str::<File>(json).unwrap().lower()
    }

    #[test]
    fn numbers_out_of_bounds_are_named() {
        let wrong = [
            ("num_attention_heads", "0"),
            ("num_attention_heads", "18446744073709551615"),
            ("attention_head_dim", "0"),
            ("patch_size", "2"),
            ("in_channels", "0"),
            ("in_channels", "66"),
            ("out_channels", "16"),
            ("num_layers", "1000000000"),
            ("num_single_layers", "1000000000"),
            ("joint_attention_dim", "0"),
            ("pooled_projection_dim", "9999999999"),
            ("axes_dims_rope", "[16, 56, 54]"),
            ("axes_dims_rope", "[15, 57, 56]"),
            ("axes_dims_rope", "[0, 18446744073709551615, 129]"),
        ];
        refused_by_name(flux, &wrong);
        let other = flux(r#"{"_class_name": "Flux2Transformer2DModel"}"#);
        assert!(matches!(other, Err(ArchError::Unsupported { .. })), "{other:?}");
    }
}
