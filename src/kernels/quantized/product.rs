//! The product itself: panels shared out over threads, each expanded once for all rows.

use std::ops::Range;

use rayon::prelude::*;

use super::QuantKind;
use super::activations::{Activations, STEP, Tile};
use super::expand::{Expanded, STEPS};
use super::format;
use super::linear::QuantizedLinear;
use super::panel::{LANES, Record};
use super::tile::{self, Functions, Work};
use crate::kernels::output::Output;

/// Bytes that come from memory at once.
const LINE: usize = 64;
/// Tiles that go through the weights together: their sums stay in the first-level cache.
const TILES_AT_ONCE: usize = 20;
/// The largest tile of any instruction set.
const TILE_ROWS: usize = 6;
/// Bytes between what is computed with and what is asked for from memory: without, a third of the time at one
/// row is waiting.
const AHEAD: usize = 8192;
/// Shares of the work for each thread, so that one that started late takes fewer.
const SHARES: usize = 4;

/// The products of several layers with the same input, side by side: `[xs.rows(), sum of their outputs]`. A
/// row's result is the same, to the last bit, whatever other rows there are and however many threads.
///
/// One hand-over to other threads for all of them. Uses the threads of the current rayon pool.
pub(crate) fn matmul_all(layers: &[QuantizedLinear], xs: &Activations) -> Vec<f32> {
    let width: usize = layers.iter().map(QuantizedLinear::out).sum();
    let numbers = xs.rows() * width;
    let mut joined = Vec::with_capacity(numbers);
    let out = Output::of(&mut joined);
    let mut column = 0;
    let place = |layer| {
        let part = Part::new(layer, xs, Columns { out, first: column, width });
        column += layer.out();
        part
    };
    let parts: Vec<Part> = layers.iter().map(place).collect();
    compute(&parts, xs);
    // SAFETY: the panels of all parts have written all columns of all rows.
    #[allow(unsafe_code)]
    unsafe {
        joined.set_len(numbers);
    }
    joined
}

/// Shares out the panels of all parts.
fn compute(parts: &[Part], xs: &Activations) {
    if xs.rows() == 0 {
        return;
    }
    let panels: usize = parts.iter().map(|part| part.layer.panels()).sum();
    let shares = if rayon::current_num_threads() == 1 { 1 } else { rayon::current_num_threads() * SHARES };
    let tiles: Vec<Tile> = xs.tiles().collect();
    let share = |index: usize| {
        let (from, to) = (index * panels / shares, (index + 1) * panels / shares);
        let mut first = 0;
        for part in parts {
            let end = first + part.layer.panels();
            let (from, to) = (from.clamp(first, end), to.clamp(first, end));
            if from < to {
                part.run(xs, &tiles, from - first..to - first);
            }
            first = end;
        }
    };
    if shares == 1 { share(0) } else { (0..shares).into_par_iter().for_each(share) }
}

/// Neighbouring columns of a result.
#[derive(Clone, Copy)]
struct Columns {
    /// `[rows, width]`
    out: Output,
    first: usize,
    width: usize,
}

/// One layer and where its output goes.
struct Part<'a> {
    layer: &'a QuantizedLinear,
    functions: Functions,
    columns: Columns,
}

impl<'a> Part<'a> {
    fn new(layer: &'a QuantizedLinear, xs: &Activations, columns: Columns) -> Self {
        assert_eq!(xs.width(), layer.width(), "an input to {} outputs", layer.out());
        let (isa, precision) = (xs.isa(), xs.precision());
        let functions = match layer.kind() {
            QuantKind::Q8_0 => tile::functions::<format::Q8_0>(isa, precision),
            QuantKind::Q4_0 => tile::functions::<format::Q4_0>(isa, precision),
            QuantKind::Q4K => tile::functions::<format::Q4K>(isa, precision),
            QuantKind::Q5K => tile::functions::<format::Q5K>(isa, precision),
            QuantKind::Q6K => tile::functions::<format::Q6K>(isa, precision),
        };
        Self { layer, functions, columns }
    }

    /// Computes the columns of some panels, which no one else computes.
    fn run(&self, xs: &Activations, tiles: &[Tile], panels: Range<usize>) {
        let mut weights = Expanded::new();
        let mut sums = [[0f32; LANES]; TILES_AT_ONCE * TILE_ROWS];
        for tiles in tiles.chunks(TILES_AT_ONCE) {
            let rows: usize = tiles.iter().map(|tile| tile.rows).sum();
            for panel in panels.clone() {
                sums[..rows].fill([0.0; LANES]);
                self.sum(xs.step_words(), tiles, panel, &mut weights, &mut sums);
                self.write(tiles[0].first, panel, &sums[..rows]);
            }
        }
    }

    /// Adds the product of one panel and some tiles to `sums`, one for each row of the tiles.
    fn sum(
        &self,
        step_words: usize,
        tiles: &[Tile],
        panel: usize,
        weights: &mut Expanded,
        sums: &mut [[f32; LANES]],
    ) {
        let kind = self.layer.kind();
        let record_steps = kind.block_weights() / STEP;
        let record_bytes = Record::of(kind).bytes;
        let mut first = 0;
        for records in self.layer.panel(panel).chunks(record_bytes * (STEPS / record_steps)) {
            let steps = records.len() / record_bytes * record_steps;
            // SAFETY: `functions` are of an instruction set that the processor has.
            #[allow(unsafe_code)]
            unsafe {
                (self.functions.expand)(weights, records);
            }
            let (codes, stride) = weights.codes(kind, records);
            let lines = (records.len() / LINE).div_ceil(steps * tiles.len());
            let (mut asked, mut rest) = (0, &mut *sums);
            for tile in tiles {
                let (sums, others) = rest.split_at_mut(tile.rows);
                rest = others;
                let words = step_words * tile.rows;
                let mut work = Work {
                    codes,
                    stride,
                    scales: &weights.scales,
                    mins: &weights.mins,
                    steps,
                    words: &tile.words[first * words..(first + steps) * words],
                    ahead: records.as_ptr().wrapping_add(AHEAD + asked),
                    lines: if asked < records.len() { lines } else { 0 },
                    sums,
                };
                asked += lines * steps * LINE;
                // SAFETY: as above.
                #[allow(unsafe_code)]
                unsafe {
                    (self.functions.tiles[tile.rows - 1])(&mut work);
                }
            }
            first += steps;
        }
    }

    /// Writes the sums of rows from `first` on to the columns of a panel.
    fn write(&self, first: usize, panel: usize, sums: &[[f32; LANES]]) {
        let Columns { out, first: column, width } = self.columns;
        let lane = panel * LANES;
        let lanes = LANES.min(self.layer.out() - lane);
        for (row, sums) in sums.iter().enumerate() {
            let to = out.at(first + row, column + lane, width);
            // SAFETY: the row is one of `rows` and the columns end where the layer's do, so this is within the
            // output, and no other thread has this panel.
            #[allow(unsafe_code)]
            unsafe {
                if lanes == LANES {
                    to.cast::<[f32; LANES]>().write_unaligned(*sums);
                } else {
                    to.copy_from_nonoverlapping(sums.as_ptr(), lanes);
                }
            }
        }
    }
}
