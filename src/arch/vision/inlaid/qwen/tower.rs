//! The network that reads pictures of any shape.
//!
//! Patches lie in the order of the rows that they become, those of one row together; where layers look through
//! windows, a window's patches lie together too, and rows are put back into order at the end.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::MAX_SIDE;
use super::config::TowerConfig;
use crate::arch::encoder::{FeedForward, Gate, Layer, Orientation, SelfAttention, usual_scale};
use crate::arch::vision::inlaid::family::Eyes;
use crate::arch::{ArchError, Bias, Scope};
use crate::image::PixelValues;
use crate::kernels::{Activation, Linear, Norm, Rope, RopeStyle};

/// What is added to variances.
const EPS: f64 = 1e-6;

/// How fast places turn.
const THETA: f64 = 10_000.0;

#[derive(Debug)]
pub(super) struct Tower {
    config: TowerConfig,
    patch: Linear,
    layers: Vec<Layer>,
    norm: Norm,
    merge: Linear,
    output: Linear,
}

/// Where a picture's patches are, and in what order.
struct Arrangement {
    /// Row and column of each patch.
    patches: Vec<(usize, usize)>,
    /// Patches that see each other.
    windows: Vec<Range<usize>>,
    /// For each row that the decoder reads, from the upper left on, which it is in the order of the patches.
    rows: Vec<u32>,
}

impl Arrangement {
    /// Of a picture of so many rows down and across, made of so many by so many patches each, in windows of `side` by
    /// `side` rows.
    fn new(down: usize, across: usize, merged: usize, side: usize) -> Self {
        let mut arrangement = Self { patches: Vec::new(), windows: Vec::new(), rows: Vec::new() };
        let mut squares = Vec::with_capacity(down * across);
        for (top, left) in
            (0..down).step_by(side).flat_map(|top| (0..across).step_by(side).map(move |left| (top, left)))
        {
            let start = arrangement.patches.len();
            for row in top..(top + side).min(down) {
                for column in left..(left + side).min(across) {
                    squares.push(row * across + column);
                    let within = (0..merged).flat_map(|i| (0..merged).map(move |j| (i, j)));
                    arrangement.patches.extend(within.map(|(i, j)| (row * merged + i, column * merged + j)));
                }
            }
            arrangement.windows.push(start..arrangement.patches.len());
        }
        arrangement.rows = vec![0; squares.len()];
        for (at, square) in squares.into_iter().enumerate() {
            arrangement.rows[square] = at as u32;
        }
        arrangement
    }
}

impl Tower {
    pub(super) fn load(scope: &Scope<'_>, config: &TowerConfig) -> std::result::Result<Self, ArchError> {
        let square = config.merged * config.merged * config.hidden_size;
        let half = config.head_size() / 2;
        let rope = Rope::over_plane(Rope::frequencies(THETA, half), MAX_SIDE, RopeStyle::Halves);
        let orientation = Orientation { rope: Some(rope.into()), ..Orientation::default() };
        let layers = (0..config.layers).map(|index| {
            let scope = scope.sub("blocks").sub(index);
            load_layer(&scope, config, orientation.clone())
        });
        let merger = scope.sub("merger");
        Ok(Self {
            patch: load_patch(scope, config)?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            norm: norm(&merger, "ln_q", config)?,
            merge: merger.linear("mlp.0", square, square, Bias::Present)?,
            output: merger.linear("mlp.2", square, config.outputs, Bias::Present)?,
            config: config.clone(),
        })
    }

    fn arrange(&self, down: usize, across: usize) -> Arrangement {
        let side = self.config.window.as_ref().map_or(down.max(across), |(side, _)| *side);
        Arrangement::new(down, across, self.config.merged, side.max(1))
    }

    /// The vectors of the patches, in their order: `[patches, hidden]`.
    fn embed(&self, view: &PixelValues, arrangement: &Arrangement) -> Result<Tensor> {
        let (size, inputs) = (self.config.patch_size, self.config.patch_numbers());
        let mut patches = Vec::with_capacity(arrangement.patches.len() * inputs);
        for (row, column) in &arrangement.patches {
            for plane in view.values.chunks_exact(view.height * view.width) {
                let lines = plane.chunks_exact(view.width).skip(row * size).take(size);
                lines.for_each(|line| patches.extend_from_slice(&line[column * size..][..size]));
            }
        }
        let patches = Tensor::from_vec(patches, (arrangement.patches.len(), inputs), &Device::Cpu)?;
        self.patch.forward(&patches)
    }
}

impl Eyes for Tower {
    fn see(&self, view: &PixelValues) -> Result<Tensor> {
        let square = self.config.patch_size * self.config.merged;
        let (down, across) = (view.height / square, view.width / square);
        let arrangement = self.arrange(down, across);
        let mut xs = self.embed(view, &arrangement)?;
        let positions: Vec<u32> = arrangement
            .patches
            .iter()
            .map(|(row, column)| (row * usize::from(MAX_SIDE) + column) as u32)
            .collect();
        let whole: Vec<_> = std::iter::once(0..arrangement.patches.len()).collect();
        for (index, layer) in self.layers.iter().enumerate() {
            let windowed = self.config.window.as_ref().is_some_and(|(_, full)| !full.contains(&index));
            let spans = if windowed { arrangement.windows.as_slice() } else { &whole };
            xs = layer.forward(&xs, &positions, spans)?;
        }
        let merged = self.config.merged * self.config.merged * self.config.hidden_size;
        let squares = self.norm.forward(&xs)?.reshape((down * across, merged))?;
        let rows = self.output.forward(&self.merge.forward_activated(&squares, Activation::Gelu)?)?;
        rows.index_select(&Tensor::new(arrangement.rows.as_slice(), &Device::Cpu)?, 0)
    }
}

/// The convolution over the pictures of a film, all of which are the same one.
fn load_patch(scope: &Scope<'_>, config: &TowerConfig) -> std::result::Result<Linear, ArchError> {
    let (width, size) = (config.hidden_size, config.patch_size);
    let weight = scope.tensor("patch_embed.proj.weight", [width, 3, config.frames, size, size])?;
    let weight = weight.sum(2)?.reshape((width, config.patch_numbers()))?.contiguous()?;
    Ok(Linear::joined(&[weight], &[], scope.precision())?)
}

/// A norm of the network: of the second version by the root of the mean square alone.
fn norm(scope: &Scope<'_>, name: &str, config: &TowerConfig) -> std::result::Result<Norm, ArchError> {
    match config.gate {
        Gate::Present => scope.rms_norm(name, config.hidden_size, EPS),
        Gate::Absent => scope.layer_norm(name, config.hidden_size, EPS, Bias::Present),
    }
}

fn load_layer(
    scope: &Scope<'_>,
    config: &TowerConfig,
    orientation: Orientation,
) -> std::result::Result<Layer, ArchError> {
    let (width, inner) = (config.hidden_size, config.inner);
    let attention = SelfAttention {
        qkv: scope.linear("attn.qkv", width, 3 * width, Bias::Present)?,
        output: scope.linear("attn.proj", width, width, Bias::Present)?,
        heads: config.heads,
        head_size: config.head_size(),
        scale: usual_scale(config.head_size()),
        orientation,
    };
    let (up, down) = match config.gate {
        Gate::Present => (
            scope.joined(["mlp.gate_proj", "mlp.up_proj"], width, [inner; 2], Bias::Present)?,
            "mlp.down_proj",
        ),
        Gate::Absent => (scope.linear("mlp.fc1", width, inner, Bias::Present)?, "mlp.fc2"),
    };
    let feed_forward = FeedForward {
        up,
        down: scope.linear(down, inner, width, Bias::Present)?,
        activation: config.activation,
        gate: config.gate,
    };
    Ok(Layer::of(norm(scope, "norm1", config)?, attention, norm(scope, "norm2", config)?, feed_forward))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_a_row_and_rows_of_a_window_lie_together() {
        let plain = Arrangement::new(1, 2, 2, 9);
        assert_eq!(plain.patches, [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]);
        assert_eq!((plain.windows, plain.rows), (std::iter::once(0..8).collect(), vec![0, 1]));
        let windows = Arrangement::new(2, 3, 1, 2);
        assert_eq!(windows.patches, [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)]);
        assert_eq!((windows.windows, windows.rows), (vec![0..4, 4..6], vec![0, 1, 4, 2, 3, 5]));
    }
}
