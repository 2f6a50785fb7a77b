//! Both halves.

use candle_core::{Result, Tensor};

use super::config::AutoencoderConfig;
use super::decoder::Decoder;
use super::encoder::Encoder;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Conv2d, PixelGrid, Window};

/// The weights; those of the half that reads pictures are there where they were asked for.
#[derive(Debug)]
pub(crate) struct Autoencoder {
    latent_channels: usize,
    reduction: usize,
    scale: f64,
    shift: f64,
    before: Option<Conv2d>,
    decoder: Decoder,
    encoder: Option<(Encoder, Option<Conv2d>)>,
}

impl Autoencoder {
    /// Takes its tensors out of `scope`.
    pub(crate) fn load(
        scope: &Scope<'_>,
        config: &AutoencoderConfig,
        reads: bool,
    ) -> std::result::Result<Self, ArchError> {
        let pixels = |name, channels| scope.conv(name, channels, channels, Window::PIXEL);
        let [after, before] = config.quantized;
        let encoder = reads.then(|| {
            let after = after.then(|| pixels("quant_conv", 2 * config.latent_channels)).transpose()?;
            Ok::<_, ArchError>((Encoder::load(&scope.sub("encoder"), config)?, after))
        });
        Ok(Self {
            latent_channels: config.latent_channels,
            reduction: config.reduction(),
            scale: config.scale,
            shift: config.shift,
            before: before.then(|| pixels("post_quant_conv", config.latent_channels)).transpose()?,
            decoder: Decoder::load(&scope.sub("decoder"), config)?,
            encoder: encoder.transpose()?,
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

    /// Pictures, `[rows, 3]`, colors from -1 to 1, to the mean of their latents as a denoiser takes them, `[rows,
    /// latent channels]`. `None` where the half that reads was not loaded.
    pub(crate) fn encode(&self, pixels: &Tensor, grid: PixelGrid) -> Result<Option<(Tensor, PixelGrid)>> {
        let Some((encoder, after)) = &self.encoder else { return Ok(None) };
        let (latents, grid) = encoder.forward(pixels, grid)?;
        let latents = match after {
            Some(layer) => layer.forward(&latents, grid)?,
            None => latents,
        };
        let mean = latents.narrow(1, 0, self.latent_channels)?.contiguous()?;
        Ok(Some((mean.affine(self.scale, -self.shift * self.scale)?, grid)))
    }
}
