//! FLUX.1, dev and schnell, by Black Forest Labs. Reference: `FluxTransformer2DModel` of Hugging Face diffusers, and
//! what its pipeline does around it: cutting a picture into squares of 2 x 2 pixels.

use candle_core::{Device, Result, Tensor};

use super::config::Frame;
use super::ends::Ends;
use super::flux_config::FluxConfig;
use super::joint::{JointBlock, Streams};
use super::sequence::{Kind, Piece, Sequence};
use super::signals::Signals;
use super::single::SingleBlock;
use crate::arch::diffusion::Conditioning;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Linear, PixelGrid};

/// Of the angles of places.
const BASE: f64 = 10_000.0;

/// Times and guidance are multiplied by this inside.
const SCALE: f32 = 1000.0;

/// A FLUX.1 transformer.
#[derive(Debug)]
pub(crate) struct Flux {
    side: usize,
    axes: [usize; 3],
    signals: Signals,
    ends: Ends,
    joint_blocks: Vec<JointBlock>,
    single_blocks: Vec<SingleBlock>,
}

impl Flux {
    /// Takes its tensors out of `root`.
    pub(crate) fn load(root: &Scope<'_>, config: &FluxConfig) -> std::result::Result<Self, ArchError> {
        let frame = config.frame;
        let joint_blocks = (0..config.joint_blocks)
            .map(|i| JointBlock::load(&root.sub("transformer_blocks").sub(i), &frame, FluxConfig::SHAPE));
        let single_blocks = (0..config.single_blocks)
            .map(|i| SingleBlock::load(&root.sub("single_transformer_blocks").sub(i), &frame));
        Ok(Self {
            side: frame.side,
            axes: config.axes,
            signals: Signals::load(root, &frame, config.guided)?,
            ends: Ends::load(root, frame, load_picture(root, &frame)?, load_output(root, &frame)?)?,
            joint_blocks: joint_blocks.collect::<std::result::Result<_, _>>()?,
            single_blocks: single_blocks.collect::<std::result::Result<_, _>>()?,
        })
    }

    /// What the noise moves by: `latents` and the result are `[pictures x height x width, channels]`, in pixels of
    /// `grid`. `times` are a thousandth of those of the schedule, from 1 down to 0, one a picture.
    pub(crate) fn forward(
        &self,
        latents: &Tensor,
        grid: PixelGrid,
        times: &[f32],
        conditioning: &Conditioning,
    ) -> Result<Tensor> {
        let sequence = self.ends.sequence(latents, grid, times, conditioning)?;
        let signals = self.signals.of(times, SCALE, conditioning)?;
        let angles = angles(self.axes, sequence, grid.width / self.side)?;
        let streams = self.ends.enter(latents, grid, sequence, conditioning)?;
        for block in &self.joint_blocks {
            block.forward(&streams, &signals, Some(&angles))?;
        }
        let (xs, joint) = joined(streams)?;
        for block in &self.single_blocks {
            block.forward(&xs, sequence, &signals, &angles, &joint)?;
        }
        self.ends.leave(&xs, grid, sequence, &signals, Piece::joint)
    }
}

/// Texts and pictures in one tensor, as attention sees them, and where queries, keys and values are put.
fn joined(streams: Streams) -> Result<(Tensor, Tensor)> {
    let Streams { sequence, texts, pictures, joint } = streams;
    let xs = Tensor::zeros((joint.dim(0)?, texts.dim(1)?), texts.dtype(), texts.device())?;
    for (kind, own) in [(Kind::Text, texts), (Kind::Picture, pictures)] {
        for piece in sequence.pieces(kind) {
            xs.slice_set(&piece.own(&own)?, 0, piece.joint)?;
        }
    }
    Ok((xs, joint))
}

/// By how much the heads of a text's and a picture's tokens are turned: `[text + squares, head size]`, cosines and
/// then sines. A text's are not; a square's parts tell its row and its column.
fn angles(axes: [usize; 3], sequence: Sequence, across: usize) -> Result<Tensor> {
    let head_size: usize = axes.iter().sum();
    // In f64, as in the reference.
    let frequency = |axis: usize, i: usize| BASE.powf(-2.0 * i as f64 / axis as f64);
    let mut table = Vec::with_capacity(sequence.tokens() * head_size);
    for token in 0..sequence.tokens() {
        let place = match token.checked_sub(sequence.text) {
            Some(square) => [0, square / across, square % across],
            None => [0; 3],
        };
        let turns = || {
            let axes = axes.into_iter().zip(place);
            axes.flat_map(move |(axis, at)| (0..axis / 2).map(move |i| at as f64 * frequency(axis, i)))
        };
        table.extend(turns().map(|turn| turn.cos() as f32));
        table.extend(turns().map(|turn| turn.sin() as f32));
    }
    Tensor::from_vec(table, (sequence.tokens(), head_size), &Device::Cpu)
}

/// Squares come to it channel by channel in the reference, row by row here.
fn load_picture(root: &Scope<'_>, frame: &Frame) -> std::result::Result<Linear, ArchError> {
    let (scope, width, square) = (root.sub("x_embedder"), frame.width(), frame.square());
    let weight = scope.tensor("weight", [width, square])?;
    let weight = weight.reshape((width, frame.channels, square / frame.channels))?.transpose(1, 2)?;
    let weight = weight.reshape((width, square))?;
    Ok(Linear::joined(&[weight], &[scope.tensor("bias", [width])?], scope.precision())?)
}

/// And leave it so.
fn load_output(root: &Scope<'_>, frame: &Frame) -> std::result::Result<Linear, ArchError> {
    let (scope, width, square) = (root.sub("proj_out"), frame.width(), frame.square());
    let weight = scope.tensor("weight", [square, width])?;
    let weight = weight.reshape((frame.channels, square / frame.channels, width))?.transpose(0, 1)?;
    let bias = scope.tensor("bias", [square])?;
    let bias = bias.reshape((frame.channels, square / frame.channels))?.t()?.flatten_all()?;
    Ok(Linear::joined(&[weight.reshape((square, width))?], &[bias], scope.precision())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_is_turned_by_its_row_and_its_column() -> Result<()> {
        let sequence = Sequence { pictures: 1, text: 2, squares: 6 };
        let table = angles([2, 2, 4], sequence, 3)?.to_vec2::<f32>()?;
        assert_eq!(table[1], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], "a text's tokens");
        // The last: row 1, column 2.
        let (row, column, slow) = (1f32, 2f32, 0.02f32);
        let expected = [1.0, row.cos(), column.cos(), slow.cos(), 0.0, row.sin(), column.sin(), slow.sin()];
        assert!(table[7].iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6));
        Ok(())
    }
}
