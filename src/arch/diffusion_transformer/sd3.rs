//! SD3 and SD3.5: Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", arXiv
//! 2403.03206. Reference: `SD3Transformer2DModel` of Hugging Face diffusers.

use candle_core::{Result, Tensor};

use super::ends::Ends;
use super::joint::JointBlock;
use super::places::Places;
use super::sd3_config::Sd3Config;
use super::sequence::Piece;
use super::signals::Signals;
use crate::arch::diffusion::Conditioning;
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Linear, PixelGrid, add};

/// An SD3 transformer.
#[derive(Debug)]
pub(crate) struct Sd3 {
    side: usize,
    signals: Signals,
    ends: Ends,
    places: Places,
    blocks: Vec<JointBlock>,
}

impl Sd3 {
    /// Takes its tensors out of `root`.
    pub(crate) fn load(root: &Scope<'_>, config: &Sd3Config) -> std::result::Result<Self, ArchError> {
        let (frame, width) = (config.frame, config.frame.width());
        // First of all, as it is large and soon small.
        let places = root.tensor("pos_embed.pos_embed", [1, config.places * config.places, width])?;
        let places = Places::new(&places, config.places)?;
        let blocks = config
            .shapes()
            .enumerate()
            .map(|(i, shape)| JointBlock::load(&root.sub("transformer_blocks").sub(i), &frame, shape));
        let blocks = blocks.collect::<std::result::Result<_, _>>()?;
        let output = root.linear("proj_out", width, frame.square(), Bias::Present)?;
        Ok(Self {
            side: frame.side,
            signals: Signals::load(root, &frame, false)?,
            ends: Ends::load(root, frame, load_patch(root, config)?, output)?,
            places,
            blocks,
        })
    }

    /// What the noise moves by: `latents` and the result are `[pictures x height x width, channels]`, in pixels of
    /// `grid`. `times` are those of the schedule, from 1000 down to 0, one a picture.
    pub(crate) fn forward(
        &self,
        latents: &Tensor,
        grid: PixelGrid,
        times: &[f32],
        conditioning: &Conditioning,
    ) -> Result<Tensor> {
        let sequence = self.ends.sequence(latents, grid, times, conditioning)?;
        let signals = self.signals.of(times, 1.0, conditioning)?;
        let streams = self.ends.enter(latents, grid, sequence, conditioning)?;
        self.place(&streams.pictures, grid)?;
        for block in &self.blocks {
            block.forward(&streams, &signals, None)?;
        }
        self.ends.leave(&streams.pictures, grid, sequence, &signals, Piece::own)
    }

    /// Tells squares just embedded, `[pictures x squares, width]`, where they are: writes into them.
    fn place(&self, xs: &Tensor, grid: PixelGrid) -> Result<()> {
        let places = self.places.of(grid.height / self.side, grid.width / self.side)?;
        let squares = places.dim(0)?;
        (0..grid.pictures).try_for_each(|i| add(xs.narrow(0, i * squares, squares)?, &places).map(drop))
    }
}

/// A convolution whose steps are as long as its kernel is wide is a linear layer on squares.
fn load_patch(root: &Scope<'_>, config: &Sd3Config) -> std::result::Result<Linear, ArchError> {
    let (frame, width) = (config.frame, config.frame.width());
    let scope = root.sub("pos_embed.proj");
    let weight = scope.tensor("weight", [width, frame.channels, frame.side, frame.side])?;
    // Channels last, as pixels have them.
    let weight = weight.permute((0, 2, 3, 1))?.reshape((width, frame.square()))?;
    Ok(Linear::joined(&[weight], &[scope.tensor("bias", [width])?], scope.precision())?)
}
