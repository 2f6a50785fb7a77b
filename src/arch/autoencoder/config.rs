//! What `vae/config.json` says.

use std::num::NonZeroUsize;

use serde::Deserialize;

use crate::arch::bounds::{bad, not_supported, within};
use crate::arch::residual::ResidualShape;
use crate::arch::{ArchError, read_required};
use crate::kernels::{PixelGrid, conv_scratch_numbers, scratch_numbers};
use crate::weights::ModelFolder;

/// Of all norms.
pub(super) const EPS: f64 = 1e-6;

/// Channels of a picture: red, green, blue.
pub(super) const COLORS: usize = 3;

/// The shape of a network.
#[derive(Clone, Debug)]
pub(crate) struct AutoencoderConfig {
    /// Channels of latents.
    pub(crate) latent_channels: usize,
    /// Latents are multiplied by this after `shift` is taken off, so that a denoiser sees numbers around 1.
    pub(crate) scale: f64,
    /// See `scale`.
    pub(crate) shift: f64,
    /// Channels of each level, from the largest pictures to the smallest.
    pub(super) channels: Vec<usize>,
    /// Residual blocks of each level, less one.
    pub(super) blocks: usize,
    pub(super) groups: usize,
    /// Whether pixels look at each other between the halves.
    pub(super) attention: bool,
    /// Whether a layer of single pixels stands before the decoder.
    pub(super) quantized: bool,
}

/// The file, with what it means where it says nothing.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct File {
    in_channels: usize,
    out_channels: usize,
    latent_channels: usize,
    block_out_channels: Vec<usize>,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    layers_per_block: usize,
    norm_num_groups: usize,
    act_fn: String,
    scaling_factor: f64,
    shift_factor: Option<f64>,
    latents_mean: Option<serde_json::Value>,
    latents_std: Option<serde_json::Value>,
    mid_block_add_attention: bool,
    use_post_quant_conv: bool,
}

impl Default for File {
    fn default() -> Self {
        Self {
            in_channels: COLORS,
            out_channels: COLORS,
            latent_channels: 4,
            block_out_channels: vec![64],
            down_block_types: vec![DOWN.to_owned()],
            up_block_types: vec![UP.to_owned()],
            layers_per_block: 1,
            norm_num_groups: 32,
            act_fn: "silu".to_owned(),
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            mid_block_add_attention: true,
            use_post_quant_conv: true,
        }
    }
}

const DOWN: &str = "DownEncoderBlock2D";
const UP: &str = "UpDecoderBlock2D";

impl AutoencoderConfig {
    /// Reads and checks `config.json` of the folder of the network.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, options that are not implemented and numbers out of bounds.
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        Self::of(read_required::<File>(folder, "config.json")?)
    }

    fn of(file: File) -> Result<Self, ArchError> {
        file.check()?;
        Ok(Self {
            latent_channels: file.latent_channels,
            scale: file.scaling_factor,
            shift: file.shift_factor.unwrap_or(0.0),
            channels: file.block_out_channels,
            blocks: file.layers_per_block,
            groups: file.norm_num_groups,
            attention: file.mid_block_add_attention,
            quantized: file.use_post_quant_conv,
        })
    }

    /// How many pixels of a picture, along a side, are one of its latents.
    pub(crate) fn reduction(&self) -> usize {
        1 << (self.channels.len() - 1)
    }

    /// Channels of the smallest pictures.
    pub(super) fn lowest(&self) -> usize {
        self.channels[self.channels.len() - 1]
    }

    pub(super) fn residual(&self, inputs: usize, outputs: usize) -> ResidualShape {
        ResidualShape { inputs, outputs, time: None, groups: self.groups, eps: EPS }
    }

    /// How many numbers decoding latents of this grid holds at once on so many threads, beside weights, at most.
    pub(crate) fn decoding_numbers(&self, latents: PixelGrid, threads: NonZeroUsize) -> u64 {
        let rows = |level: usize| {
            let enlarged = self.channels.len() - 1 - level;
            (latents.rows() as u64) << (2 * enlarged)
        };
        let levels = self.channels.iter().enumerate().map(|(level, channels)| {
            let below = self.channels.get(level + 1).copied().unwrap_or(*channels);
            rows(level) * self.residual(below, *channels).pixel_numbers()
        });
        let lowest = self.lowest();
        let scratch = scratch_numbers(latents.pictures, lowest, latents.pixels(), threads) as u64;
        let middle = latents.rows() as u64 * 6 * lowest as u64 + scratch;
        levels.max().unwrap_or(0).max(middle) + conv_scratch_numbers(threads) as u64
    }
}

impl File {
    fn check(&self) -> Result<(), ArchError> {
        let levels = self.block_out_channels.len();
        within("in_channels", self.in_channels, COLORS..=COLORS)?;
        within("out_channels", self.out_channels, COLORS..=COLORS)?;
        within("latent_channels", self.latent_channels, 1..=64)?;
        within("block_out_channels", levels, 1..=6)?;
        within("layers_per_block", self.layers_per_block, 1..=16)?;
        within("norm_num_groups", self.norm_num_groups, 1..=1024)?;
        if self.act_fn != "silu" {
            return Err(not_supported("act_fn", &self.act_fn, &["silu"]));
        }
        for (field, types, only) in
            [("down_block_types", &self.down_block_types, DOWN), ("up_block_types", &self.up_block_types, UP)]
        {
            within(field, types.len(), levels..=levels)?;
            if let Some(other) = types.iter().find(|found| *found != only) {
                return Err(not_supported(field, other, &[only]));
            }
        }
        for channels in &self.block_out_channels {
            within("block_out_channels", *channels, 1..=16_384)?;
            if !channels.is_multiple_of(self.norm_num_groups) {
                let expected = format!("it must divide channels, {channels}");
                return Err(bad("norm_num_groups", self.norm_num_groups, expected));
            }
        }
        for (field, found) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            if let Some(found) = found.as_ref().filter(|found| !found.is_null()) {
                return Err(not_supported(field, &found.to_string(), &["null"]));
            }
        }
        let scale = self.scaling_factor;
        if !(scale.is_finite() && scale > 1e-3 && scale < 1e3) {
            return Err(bad("scaling_factor", scale, "it must be in 0.001..1000".to_owned()));
        }
        match self.shift_factor {
            Some(shift) if !(shift.is_finite() && shift.abs() < 1e3) => {
                Err(bad("shift_factor", shift, "it must be in -1000..1000".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(json: serde_json::Value) -> Result<AutoencoderConfig, ArchError> {
        AutoencoderConfig::of(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn stable_diffusion_halves_three_times() {
        let four = |name: &'static str| vec![name; 4];
        let json = json!({
            "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
            "down_block_types": four(DOWN), "up_block_types": four(UP)
        });
        let config = config(json).unwrap();
        assert_eq!((config.reduction(), config.latent_channels), (8, 4));
    }

    #[test]
    fn what_is_not_implemented_or_absurd_is_refused_by_name() {
        for (wrong, named) in [
            (json!({"act_fn": "relu"}), "act_fn"),
            (json!({"in_channels": 4}), "in_channels"),
            (json!({"latent_channels": 0}), "latent_channels"),
            (json!({"block_out_channels": []}), "block_out_channels"),
            (json!({"block_out_channels": [30]}), "norm_num_groups"),
            (json!({"norm_num_groups": 0}), "norm_num_groups"),
            (json!({"layers_per_block": 99}), "layers_per_block"),
            (json!({"up_block_types": ["AttnUpDecoderBlock2D"]}), "up_block_types"),
            (json!({"down_block_types": []}), "down_block_types"),
            (json!({"latents_mean": [0.0]}), "latents_mean"),
            (json!({"scaling_factor": 0.0}), "scaling_factor"),
            (json!({"shift_factor": 1e9}), "shift_factor"),
        ] {
            let error = config(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }
}
