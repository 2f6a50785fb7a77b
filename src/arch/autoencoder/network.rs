//! The network.

use candle_core::{Result, Tensor};

use super::config::AutoencoderConfig;
use super::decoder::Decoder;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Conv2d, PixelGrid, Window};

/// The weights.
#[derive(Debug)]
pub(crate) struct Autoencoder {
    reduction: usize,
    scale: f64,
    shift: f64,
    before: Option<Conv2d>,
    decoder: Decoder,
}

impl Autoencoder {
    /// Takes its tensors out of `scope`.
    pub(crate) fn load(
        scope: &Scope<'_>,
        config: &AutoencoderConfig,
    ) -> std::result::Result<Self, ArchError> {
        let pixels = |name, channels| scope.conv(name, channels, channels, Window::PIXEL);
        Ok(Self {
            reduction: config.reduction(),
            scale: config.scale,
            shift: config.shift,
            before: config
                .quantized
                .then(|| pixels("post_quant_conv", config.latent_channels))
                .transpose()?,
            decoder: Decoder::load(&scope.sub("decoder"), config)?,
        })
    }

    /// How many pixels of a picture, along a side, are one of its latents.
    pub(super) fn reduction(&self) -> usize {
        self.reduction
    }

    /// Latents as a denoiser leaves them, `[rows, latent channels]`, to pictures, `[rows, 3]`, whose colors go from -1
    /// to 1, and somewhat beyond.
    pub(crate) fn decode(&self, latents: &Tensor, grid: PixelGrid) -> Result<(Tensor, PixelGrid)> {
        let latents = latents.affine(self.scale.recip(), self.shift)?;
        match &self.before {
            Some(layer) => self.decoder.forward(&layer.forward(&latents, grid)?, grid),
            None => self.decoder.forward(&latents, grid),
        }
    }
}
