//! Mixture of experts: Shazeer et al., "Outrageously Large Neural Networks", arXiv 1701.06538, as Mixtral
//! (arXiv 2401.04088) and Qwen 3 have it.

use candle_core::{Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::config::{DecoderConfig, ExpertWeights, ExpertsConfig};
use super::layer::GatedUnit;
use super::names::Part;
use super::projection::Projection;
use super::tensors::Tensors;
use crate::arch::{ArchError, Bias};

/// Many feed-forward parts, of which each token goes through a few.
#[derive(Debug)]
pub(super) struct Experts {
    router: Projection,
    units: Vec<GatedUnit>,
    chosen: usize,
    weights: ExpertWeights,
}

impl Experts {
    pub(super) fn load(
        tensors: &impl Tensors,
        config: &DecoderConfig,
        layer: usize,
        shape: ExpertsConfig,
    ) -> std::result::Result<Self, ArchError> {
        let ExpertsConfig { count, chosen, width, weights } = shape;
        let hidden = config.hidden_size;
        let router = tensors.linear(layer, [Part::Router], hidden, [count], Bias::Absent)?;
        let ups = tensors.experts(layer, count, [Part::Gate, Part::Up], hidden, width)?;
        let downs = tensors.experts(layer, count, [Part::Down], width, hidden)?;
        let unit = |(gate_up, down)| GatedUnit { gate_up, down, activation: config.activation };
        let units = ups.into_iter().zip(downs).map(unit).collect();
        Ok(Self { router, units, chosen, weights })
    }

    /// `[rows, hidden]` to the same. What a row's experts give is summed in the order of their numbers,
    /// whatever other rows are there.
    pub(super) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (rows, hidden) = xs.dims2()?;
        let probabilities = softmax_last_dim(&self.router.forward(xs)?)?.to_vec2::<f32>()?;
        let mut visitors: Vec<(Vec<u32>, Vec<f32>)> = vec![Default::default(); self.units.len()];
        for (row, probabilities) in probabilities.iter().enumerate() {
            for (expert, weight) in self.choose(probabilities) {
                visitors[expert].0.push(row as u32);
                visitors[expert].1.push(weight);
            }
        }
        let mut sums = vec![0f32; rows * hidden];
        for (expert, (rows, weights)) in self.units.iter().zip(visitors) {
            if rows.is_empty() {
                continue;
            }
            let own = xs.index_select(&Tensor::new(rows.as_slice(), xs.device())?, 0)?;
            let given = expert.forward(&own)?.flatten_all()?.to_vec1::<f32>()?;
            for ((row, weight), given) in rows.iter().zip(weights).zip(given.chunks_exact(hidden)) {
                let sum = &mut sums[*row as usize * hidden..][..hidden];
                sum.iter_mut().zip(given).for_each(|(sum, x)| *sum += weight * x);
            }
        }
        Tensor::from_vec(sums, (rows, hidden), xs.device())
    }

    /// The likeliest experts, likeliest first, with the weights of what they give.
    fn choose(&self, probabilities: &[f32]) -> Vec<(usize, f32)> {
        let mut ranked: Vec<(usize, f32)> = probabilities.iter().copied().enumerate().collect();
        // Of two equal ones the first, so that nothing depends on the order of sorting.
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.truncate(self.chosen);
        if self.weights == ExpertWeights::AmongChosen {
            let total: f32 = ranked.iter().map(|(_, weight)| weight).sum();
            ranked.iter_mut().for_each(|(_, weight)| *weight /= total);
        }
        ranked
    }
}
