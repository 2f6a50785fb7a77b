//! The ways in and out: from pixels and a prompt's tokens to tokens inside, and back to pixels.

use candle_core::{Result, Tensor, bail};

use super::config::Frame;
use super::joint::Streams;
use super::modulation::Modulation;
use super::sequence::{Kind, Piece, Sequence};
use crate::arch::diffusion::Conditioning;
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Linear, PixelGrid};

#[derive(Debug)]
pub(super) struct Ends {
    frame: Frame,
    text: Linear,
    /// Of the pixels of a square, row by row, and the channels of each.
    picture: Linear,
    norm: Linear,
    /// To the same.
    output: Linear,
}

impl Ends {
    /// `picture` and `output` are layers that read and write squares row by row.
    pub(super) fn load(
        root: &Scope<'_>,
        frame: Frame,
        picture: Linear,
        output: Linear,
    ) -> std::result::Result<Self, ArchError> {
        let width = frame.width();
        let text = root.linear("context_embedder", frame.token_width, width, Bias::Present)?;
        let norm = root.linear("norm_out.linear", width, 2 * width, Bias::Present)?;
        Ok(Self { frame, text, picture, norm, output })
    }

    /// Which token is whose, if all that is given goes together: `latents` are `[pictures x height x width,
    /// channels]`.
    pub(super) fn sequence(
        &self,
        latents: &Tensor,
        grid: PixelGrid,
        times: &[f32],
        conditioning: &Conditioning,
    ) -> Result<Sequence> {
        let side = self.frame.side;
        let whole = grid.height.is_multiple_of(side) && grid.width.is_multiple_of(side) && grid.rows() > 0;
        if !whole || latents.dims() != [grid.rows(), self.frame.channels] {
            let (found, channels) = (latents.dims(), self.frame.channels);
            bail!("latents {found:?} of {grid:?} are not squares of {side} with {channels} channels");
        }
        let (length, width) = (conditioning.length, self.frame.token_width);
        let rows = grid.pictures.checked_mul(length).unwrap_or(0);
        if rows == 0 || conditioning.tokens.dims() != [rows, width] || times.len() != grid.pictures {
            let (found, pictures) = (conditioning.tokens.dims(), grid.pictures);
            bail!(
                "{} times and prompts {found:?}, for {pictures} of {length} tokens of {width}",
                times.len()
            );
        }
        let squares = grid.pixels() / (side * side);
        Ok(Sequence { pictures: grid.pictures, text: length, squares })
    }

    /// Where pictures begin, before they are told where their squares are.
    pub(super) fn enter(
        &self,
        latents: &Tensor,
        grid: PixelGrid,
        sequence: Sequence,
        conditioning: &Conditioning,
    ) -> Result<Streams> {
        let texts = self.text.forward(&conditioning.tokens)?;
        let pictures = self.picture.forward(&pack(latents, grid, self.frame.side)?)?;
        Streams::new(sequence, texts, pictures)
    }

    /// Latents again, of the shape that they came in. `rows` says which rows of `xs` a piece of a picture is.
    pub(super) fn leave(
        &self,
        xs: &Tensor,
        grid: PixelGrid,
        sequence: Sequence,
        signals: &Tensor,
        rows: impl Fn(Piece, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let modulations = Modulation::of(&self.norm, signals)?;
        let norms = Modulation::last_norms(&modulations)?;
        let pieces = sequence
            .pieces(Kind::Picture)
            .map(|piece| self.output.forward(&norms[piece.picture].forward(&rows(piece, xs)?)?));
        unpack(&Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 0)?, grid, self.frame.side)
    }
}

/// From a pixel to a row to a square to a row: `[rows, channels]` to `[rows / side^2, side x side x channels]`.
fn pack(latents: &Tensor, grid: PixelGrid, side: usize) -> Result<Tensor> {
    let (down, across, channels) = (grid.pictures * grid.height / side, grid.width / side, latents.dim(1)?);
    let squares = latents.reshape((down, side, across, side * channels))?.transpose(1, 2)?;
    squares.reshape((down * across, side * side * channels))
}

/// The way back.
fn unpack(squares: &Tensor, grid: PixelGrid, side: usize) -> Result<Tensor> {
    let (down, across) = (grid.pictures * grid.height / side, grid.width / side);
    let channels = squares.dim(1)? / (side * side);
    let latents = squares.reshape((down, across, side, side * channels))?.transpose(1, 2)?;
    latents.reshape((grid.rows(), channels))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_square_is_read_row_by_row_and_comes_back() -> Result<()> {
        let grid = PixelGrid { pictures: 2, height: 4, width: 6 };
        let latents = Tensor::arange(0f32, 96.0, &Device::Cpu)?.reshape((48, 2))?;
        let squares = pack(&latents, grid, 2)?;
        assert_eq!(squares.dims(), [12, 8]);
        // The second of the first row: pixels 2 and 3, and 8 and 9 below them.
        assert_eq!(squares.get(1)?.to_vec1::<f32>()?, [4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0]);
        assert_eq!(unpack(&squares, grid, 2)?.to_vec2::<f32>()?, latents.to_vec2::<f32>()?);
        Ok(())
    }
}
