//! Rotary positions that are more than one number, such as a row and a column: each token comes with its angles.
//! Su et al., arXiv 2104.09864, as [`Rope`](super::Rope).

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::rope::{RopeStyle, plain, turn};
use super::{ROWS_PER_TASK, contiguous, contiguous_mut};

/// Turns the first `heads` heads, `head_size` numbers each, of each row of `xs`, `[tokens, width]`, by that row's
/// angles: `[tokens, 2 x pairs]`, the cosines of all pairs and then their sines. Numbers of a head beyond the pairs
/// stay.
///
/// Writes into the storage of `xs`: call it only on a tensor just computed, which nothing else shares.
pub(crate) fn turn_rows(
    xs: Tensor,
    angles: &Tensor,
    (heads, head_size): (usize, usize),
    style: RopeStyle,
) -> Result<Tensor> {
    let ((tokens, width), (rows, both)) = (xs.dims2()?, angles.dims2()?);
    let fits = both > 0 && both.is_multiple_of(2) && both <= head_size && heads * head_size <= width;
    if !fits || rows != tokens {
        bail!("turn: {heads} heads of {head_size} in {tokens} x {width}, angles {rows} x {both}");
    }
    if !xs.device().is_cpu() {
        let (cos, sin) = (angles.narrow(1, 0, both / 2)?, angles.narrow(1, both / 2, both / 2)?);
        return plain(&xs, (&cos, &sin), (heads, head_size), style);
    }
    xs.inplace_op2(angles, &TurnRows { width, heads, head_size, style })?;
    Ok(xs)
}

struct TurnRows {
    width: usize,
    heads: usize,
    head_size: usize,
    style: RopeStyle,
}

impl InplaceOp2 for TurnRows {
    fn name(&self) -> &'static str {
        "turn-rows"
    }

    fn cpu_fwd(
        &self,
        xs: &mut CpuStorage,
        xs_l: &Layout,
        angles: &CpuStorage,
        angles_l: &Layout,
    ) -> Result<()> {
        let (_, both) = angles_l.shape().dims2()?;
        let (xs, angles) =
            (contiguous_mut(xs, xs_l, "turn-rows")?, contiguous(angles, angles_l, "turn-rows")?);
        let tasks =
            xs.par_chunks_mut(self.width * ROWS_PER_TASK).zip(angles.par_chunks(both * ROWS_PER_TASK));
        tasks.for_each(|(rows, angles)| {
            for (row, angles) in rows.chunks_exact_mut(self.width).zip(angles.chunks_exact(both)) {
                let heads = &mut row[..self.heads * self.head_size];
                turn(heads, self.head_size, angles.split_at(both / 2), self.style);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_fast_form_agrees_with_the_plain_one() -> Result<()> {
        let xs = Tensor::randn(0f32, 1.0, (37, 50), &Device::Cpu)?;
        let (cos, sin) = (
            Tensor::randn(0f32, 1.0, (37, 4), &Device::Cpu)?,
            Tensor::randn(0f32, 1.0, (37, 4), &Device::Cpu)?,
        );
        let angles = Tensor::cat(&[&cos, &sin], 1)?;
        for style in [RopeStyle::Interleaved, RopeStyle::Halves] {
            let expected = plain(&xs, (&cos, &sin), (4, 10), style)?;
            let got = turn_rows(xs.copy()?, &angles, (4, 10), style)?;
            assert!((&got - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6, "{style:?}");
            let (got, before) = (got.narrow(1, 40, 10)?, xs.narrow(1, 40, 10)?);
            assert_eq!(got.to_vec2::<f32>()?, before.to_vec2::<f32>()?, "what is behind the heads stays");
        }
        Ok(())
    }

    #[test]
    fn each_row_has_its_own_angles() -> Result<()> {
        let xs = Tensor::new(&[[1f32, 2.0, 3.0], [1.0, 2.0, 3.0]], &Device::Cpu)?;
        let angles = Tensor::new(&[[1f32, 0.0], [0.0, 1.0]], &Device::Cpu)?;
        let got = turn_rows(xs, &angles, (1, 3), RopeStyle::Interleaved)?.to_vec2::<f32>()?;
        assert_eq!(got, [[1.0, 2.0, 3.0], [-2.0, 1.0, 3.0]]);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        let zeros = |rows, width| Tensor::zeros((rows, width), candle_core::DType::F32, &Device::Cpu);
        for (angles, heads) in [(zeros(1, 4)?, (2, 4)), (zeros(2, 6)?, (2, 4)), (zeros(2, 4)?, (3, 4))] {
            assert!(turn_rows(zeros(2, 8)?, &angles, heads, RopeStyle::Halves).is_err());
        }
        Ok(())
    }
}
