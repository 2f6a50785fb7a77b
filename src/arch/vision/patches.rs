//! What families have in common that read pictures of one size with a network of the CLIP kind.

use candle_core::{Result, Tensor};

use crate::arch::bounds::bad;
use crate::arch::preprocessing::read_preprocessor;
use crate::arch::vit::{self, Grid, VitConfig};
use crate::arch::{ArchError, Scope};
use crate::image::Preprocessor;
use crate::weights::ModelFolder;

/// How a folder says that pictures are prepared, for a network that reads squares of one size.
///
/// # Errors
///
/// If pictures are prepared to another size, or the file asks for what is not implemented.
pub(super) fn fixed_preprocessor(
    folder: &ModelFolder,
    tower: &VitConfig,
) -> std::result::Result<Preprocessor, ArchError> {
    let preprocessor = read_preprocessor(folder)?.lower(tower.processor)?;
    let (side, reads) = (tower.image_size, preprocessor.fixed_size());
    if reads == Some((side, side)) {
        return Ok(preprocessor);
    }
    let found = reads.map_or("any".to_owned(), |(height, width)| format!("{height} x {width}"));
    let expected = format!("the network reads {side} x {side} pixels");
    Err(bad("the size that pictures are prepared to", found, expected))
}

/// The network of a scope, ready for the size it was trained on.
pub(super) fn load_tower(
    scope: &Scope<'_>,
    tower: &VitConfig,
) -> std::result::Result<vit::Network, ArchError> {
    let usual = Grid::of(tower.image_size, tower.image_size, tower.patch_size);
    vit::Network::load(scope, tower, Some(usual))
}

/// The vectors of `side` x `side` patches, row by row, `[patches, width]`, in squares of `merged` x `merged`
/// neighbours, row by row within and without: `[squares, merged * merged, width]`. `merged` divides `side`.
pub(super) fn squares(xs: &Tensor, side: usize, merged: usize) -> Result<Tensor> {
    let (rows, width) = (side / merged, xs.dim(1)?);
    let squares = xs.reshape((rows, merged, rows, merged * width))?.transpose(1, 2)?.contiguous()?;
    squares.reshape((rows * rows, merged * merged, width))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn neighbours_lie_together() -> Result<()> {
        let patches = Tensor::arange(0u32, 16, &Device::Cpu)?.reshape((16, 1))?;
        let squares = squares(&patches, 4, 2)?.squeeze(2)?.to_vec2::<u32>()?;
        assert_eq!(squares, [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]);
        Ok(())
    }
}
