//! Rotary positions: Su et al., "`RoFormer`: Enhanced Transformer with Rotary Position Embedding", arXiv
//! 2104.09864. A head's numbers are taken in pairs, and each pair is turned by an angle that grows with the
//! token's position; so a query and a key meet at an angle that depends on how far apart they are.

use std::sync::OnceLock;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::{ROWS_PER_TASK, contiguous_mut, widened};

/// Positions whose angles are computed at once.
const BLOCK: usize = 256;

/// Which two numbers of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RopeStyle {
    /// Each of the first half with its counterpart in the second: `GPT-NeoX`, and most networks since.
    Halves,
    /// Each even one with the odd one after it: the paper, GPT-J, and GGUF files of Llama's kin.
    Interleaved,
}

/// The angles of all positions, shared by all layers and workers that turn by them.
///
/// They are computed when a position is first met, so that a model with a long limit pays for the lengths it
/// is given.
#[derive(Debug)]
pub(crate) struct Rope {
    style: RopeStyle,
    /// By how much each pair is turned per position, in radians: half as many as numbers are turned.
    frequencies: Vec<f32>,
    /// For [`BLOCK`] positions each, one after the other: the cosines of all pairs, then their sines.
    blocks: Vec<OnceLock<Box<[f32]>>>,
    /// Where positions are those of a plane, row by row: how many a row has. Pairs turn by the row first, and then as
    /// many by the column, both as positions of one line.
    across: Option<u32>,
}

impl Rope {
    /// For positions below `positions`. The first `2 x frequencies` numbers of a head are turned, those
    /// behind them are left alone.
    pub(crate) fn new(frequencies: Vec<f32>, positions: usize, style: RopeStyle) -> Self {
        let blocks = (0..positions.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect();
        Self { style, frequencies, blocks, across: None }
    }

    /// For the positions of a plane of `side` rows and columns, row by row. Both turn by `frequencies`: the first as
    /// many pairs by the row, the next by the column.
    pub(crate) fn over_plane(frequencies: Vec<f32>, side: u16, style: RopeStyle) -> Self {
        Self { across: Some(side.into()), ..Self::new(frequencies, side.into(), style) }
    }

    /// The paper's frequencies, `base^(-2i / turned)` for the i-th pair of `turned` numbers.
    pub(crate) fn frequencies(base: f64, turned: usize) -> Vec<f32> {
        (0..turned / 2).map(|i| base.powf(-2.0 * i as f64 / turned as f64) as f32).collect()
    }

    /// Turns the first `heads` heads, `head_size` numbers each, of each row of `xs`, `[tokens, width]`, by the row's
    /// position, of which `positions` has one a token. In a
    /// packed row (queries, keys, values) `heads` counts those of queries and keys together.
    ///
    /// Writes into the storage of `xs`: call it only on a tensor just computed, which nothing else shares.
    pub(crate) fn apply(
        &self,
        xs: Tensor,
        positions: &[u32],
        heads: usize,
        head_size: usize,
    ) -> Result<Tensor> {
        let (tokens, width) = xs.dims2()?;
        let row = |position: u32| self.across.map_or(position, |across| position / across);
        let unknown = positions.iter().find(|at| row(**at) as usize / BLOCK >= self.blocks.len());
        let unfit = tokens != positions.len() || heads * head_size > width || self.turned() > head_size;
        if unfit || unknown.is_some() || self.frequencies.is_empty() {
            bail!("rope: {heads} heads of {head_size} in {tokens} x {width}, position {unknown:?}");
        }
        let turn = Turn { rope: self, positions, width, heads, head_size };
        if !xs.device().is_cpu() {
            return turn.plain(&xs);
        }
        xs.inplace_op1(&turn)?;
        Ok(xs)
    }

    fn turned(&self) -> usize {
        2 * self.pairs()
    }

    fn pairs(&self) -> usize {
        if self.across.is_some() { 2 * self.frequencies.len() } else { self.frequencies.len() }
    }

    /// The cosines and the sines of a position, one per pair each; those of a plane are put together in `joined`.
    fn angles<'a>(&'a self, position: u32, joined: &'a mut Vec<f32>) -> (&'a [f32], &'a [f32]) {
        let Some(across) = self.across else { return self.on_line(position) };
        let (row, column) = (self.on_line(position / across), self.on_line(position % across));
        joined.clear();
        [row.0, column.0, row.1, column.1].into_iter().for_each(|part| joined.extend_from_slice(part));
        joined.split_at(self.pairs())
    }

    fn on_line(&self, position: u32) -> (&[f32], &[f32]) {
        let pairs = self.frequencies.len();
        let (block, place) = (position as usize / BLOCK, position as usize % BLOCK);
        let angles = self.blocks[block].get_or_init(|| self.block(block));
        angles[2 * pairs * place..][..2 * pairs].split_at(pairs)
    }

    fn block(&self, block: usize) -> Box<[f32]> {
        // Position times frequency is rounded to f32, as the references have it: it matters far out.
        let angles = |place: usize| self.frequencies.iter().map(move |f| (block * BLOCK + place) as f32 * f);
        let both = |place| angles(place).map(f32::cos).chain(angles(place).map(f32::sin));
        (0..BLOCK).flat_map(both).collect()
    }
}

/// One call of [`Rope::apply`].
struct Turn<'a> {
    rope: &'a Rope,
    positions: &'a [u32],
    width: usize,
    heads: usize,
    head_size: usize,
}

impl Turn<'_> {
    fn plain(&self, xs: &Tensor) -> Result<Tensor> {
        let (tokens, pairs) = (self.positions.len(), self.rope.pairs());
        let (mut cosines, mut sines, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for position in self.positions {
            let (cos, sin) = self.rope.angles(*position, &mut joined);
            cosines.extend_from_slice(cos);
            sines.extend_from_slice(sin);
        }
        let table = |numbers: Vec<f32>| {
            Tensor::from_vec(numbers, (tokens, pairs), &candle_core::Device::Cpu)?.to_device(xs.device())
        };
        plain(xs, (&table(cosines)?, &table(sines)?), (self.heads, self.head_size), self.rope.style)
    }
}

/// [`turn`] for the first `heads` heads of each row of `xs`, `[tokens, width]`, in candle's operations; cosines and
/// sines are `[tokens, pairs]`.
pub(super) fn plain(
    xs: &Tensor,
    (cos, sin): (&Tensor, &Tensor),
    (heads, head_size): (usize, usize),
    style: RopeStyle,
) -> Result<Tensor> {
    let (tokens, width) = xs.dims2()?;
    let pairs = cos.dim(1)?;
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let all = xs.narrow(1, 0, heads * head_size)?.reshape((tokens, heads, head_size))?;
    let pair = |i: usize| match style {
        RopeStyle::Halves => all.narrow(2, i * pairs, pairs),
        RopeStyle::Interleaved => {
            all.narrow(2, 0, 2 * pairs)?.reshape((tokens, heads, pairs, 2))?.narrow(3, i, 1)?.squeeze(3)
        }
    };
    let (a, b) = (pair(0)?, pair(1)?);
    let x = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let y = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let both = match style {
        RopeStyle::Halves => Tensor::cat(&[x, y], 2)?,
        RopeStyle::Interleaved => Tensor::stack(&[x, y], 3)?.flatten_from(2)?,
    };
    let left = all.narrow(2, 2 * pairs, head_size - 2 * pairs)?;
    let turned = Tensor::cat(&[both, left], 2)?.reshape((tokens, heads * head_size))?;
    Tensor::cat(&[turned, xs.narrow(1, heads * head_size, width - heads * head_size)?], 1)
}

impl InplaceOp1 for Turn<'_> {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, xs: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let xs = contiguous_mut(xs, layout, "rope")?;
        let tasks =
            xs.par_chunks_mut(self.width * ROWS_PER_TASK).zip(self.positions.par_chunks(ROWS_PER_TASK));
        tasks.for_each(|(rows, positions)| {
            let mut joined = Vec::new();
            for (row, position) in rows.chunks_exact_mut(self.width).zip(positions) {
                let (cos, sin) = self.rope.angles(*position, &mut joined);
                let heads = &mut row[..self.heads * self.head_size];
                turn(heads, self.head_size, (cos, sin), self.rope.style);
            }
        });
        Ok(())
    }
}

/// Turns each head of `heads`, `[heads, head size]`, by the cosines and sines of its pairs. Numbers beyond the
/// pairs stay.
pub(super) fn turn(heads: &mut [f32], head_size: usize, (cos, sin): (&[f32], &[f32]), style: RopeStyle) {
    match style {
        RopeStyle::Halves => turn_halves(heads, head_size, cos, sin),
        RopeStyle::Interleaved => turn_neighbours(heads, head_size, cos, sin),
    }
}

widened! {
    fn turn_halves(heads: &mut [f32], head_size: usize, cos: &[f32], sin: &[f32]) {
        for head in heads.chunks_exact_mut(head_size) {
            let (first, rest) = head.split_at_mut(cos.len());
            for (((a, b), cos), sin) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

widened! {
    fn turn_neighbours(heads: &mut [f32], head_size: usize, cos: &[f32], sin: &[f32]) {
        for head in heads.chunks_exact_mut(head_size) {
            for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                let [a, b] = *pair;
                *pair = [a * cos - b * sin, b * cos + a * sin];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn places_of_a_plane_turn_by_row_and_by_column() {
        let plane = Rope::over_plane(vec![0.5, 0.25], 1024, RopeStyle::Halves);
        let mut joined = Vec::new();
        let (cos, sin) = plane.angles(3 * 1024 + 700, &mut joined);
        let turned: Vec<(f32, f32)> = cos.iter().copied().zip(sin.iter().copied()).collect();
        let expected = [1.5f32, 0.75, 350.0, 175.0].map(|angle| (angle.cos(), angle.sin()));
        assert_eq!(turned, expected);
    }

    #[test]
    fn the_fast_form_agrees_with_the_plain_one() -> Result<()> {
        // Queries of 3 heads and keys of 1, of which 8 or all 10 numbers turn, and a value behind them.
        let (heads, head_size, width) = (4, 10, 50);
        let positions: Vec<u32> = (0..20).chain(250..263).collect();
        for (style, turned) in [(RopeStyle::Halves, 8), (RopeStyle::Halves, 10), (RopeStyle::Interleaved, 8)]
        {
            let rope = Rope::new(Rope::frequencies(10_000.0, turned), 300, style);
            let xs = Tensor::randn(0f32, 1.0, (positions.len(), width), &Device::Cpu)?;
            let turn = Turn { rope: &rope, positions: &positions, width, heads, head_size };
            let expected = turn.plain(&xs)?;
            let got = rope.apply(xs.copy()?, &positions, heads, head_size)?;
            let off = (&got - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(off < 1e-6, "{style:?}, {turned}: off by {off}");
            let (got, xs) = (got.to_vec2::<f32>()?, xs.to_vec2::<f32>()?);
            assert_eq!(got[0], xs[0], "position 0 is not turned");
            assert_eq!(got[9][40..], xs[9][40..], "values are not turned");
            assert_ne!(got[9][..40], xs[9][..40]);
        }
        Ok(())
    }

    #[test]
    fn a_pair_is_turned_by_position_times_frequency() -> Result<()> {
        let rope = Rope::new(Rope::frequencies(100.0, 4), 8, RopeStyle::Halves);
        let xs = Tensor::new(&[[1f32, 1.0, 0.0, 0.0]], &Device::Cpu)?;
        let got = rope.apply(xs, &[3], 1, 4)?.to_vec2::<f32>()?;
        // Frequencies 1 and 1/10.
        let expected = [3f32.cos(), 0.3f32.cos(), 3f32.sin(), 0.3f32.sin()];
        assert!(got[0].iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6), "{got:?}");
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        let rope = Rope::new(Rope::frequencies(100.0, 4), 8, RopeStyle::Halves);
        let xs = Tensor::zeros((2, 8), candle_core::DType::F32, &Device::Cpu)?;
        assert!(rope.apply(xs.copy()?, &[0], 2, 4).is_err(), "a position for each token");
        assert!(rope.apply(xs.copy()?, &[0, 1], 3, 4).is_err(), "heads beyond the row");
        assert!(rope.apply(xs.copy()?, &[0, 1], 4, 2).is_err(), "heads too narrow");
        assert!(rope.apply(xs, &[0, 4096], 2, 4).is_err(), "a position beyond the last");
        Ok(())
    }
}
