//! The network: what all workers of a model share. Computes on packed texts; `tokens` below is the sum of
//! their lengths. What families do differently is in their [`EncoderConfig`], what they call their tensors in
//! their [`Layout`].

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::config::{EncoderConfig, Norms, Rotary};
use super::embeddings::Embeddings;
use super::layer::{Layer, Orientation};
use super::layout::Layout;
use super::mpnet::DISTANCES;
use crate::arch::packed::PackedTexts;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Norm, Rope};

/// An encoder of any family.
#[derive(Debug)]
pub(crate) struct Network {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    final_norm: Option<Norm>,
}

impl Network {
    /// Takes its tensors out of `root`, for texts of at most `max_tokens`.
    pub(crate) fn load(
        root: &Scope<'_>,
        config: &EncoderConfig,
        max_tokens: usize,
    ) -> std::result::Result<Self, ArchError> {
        let (layout, root) = Layout::find(config.layouts, root);
        let embeddings = Embeddings::load(&root, config, layout)?;
        let biases = match config.distances {
            Some(buckets) => {
                let table =
                    root.sub(layout.distances).tensor("weight", [buckets, config.num_attention_heads])?;
                Some(DISTANCES.biases(&table, max_tokens.saturating_sub(1))?)
            }
            None => None,
        };
        let mut ropes = Vec::new();
        let layers = config.layers.iter().enumerate().map(|(i, sight)| {
            let rope = sight.rotary.map(|rotary| shared(&mut ropes, rotary, max_tokens));
            let orientation = Orientation { rope, biases: biases.clone(), window: sight.window };
            Layer::load(&root.sub(layout.layers).sub(i), config, layout, orientation, i == 0)
        });
        let layers = layers.collect::<std::result::Result<_, _>>()?;
        let final_norm = match config.norms {
            Norms::After => None,
            Norms::Before => {
                let (width, eps) = (config.hidden_size, config.norm_eps);
                Some(root.layer_norm(layout.final_norm, width, eps, config.biases.norm)?)
            }
        };
        Ok(Self { embeddings, layers, final_norm })
    }

    /// One vector per token, `[tokens, hidden]`. There must be at least one token; ids, segments and
    /// positions must be within the tables, which whoever embeds sees to.
    pub(crate) fn forward(&self, texts: &PackedTexts) -> Result<Tensor> {
        let mut xs = self.embeddings.forward(texts)?;
        for layer in &self.layers {
            xs = layer.forward(&xs, &texts.positions, &texts.spans)?;
        }
        match &self.final_norm {
            Some(norm) => norm.forward(&xs),
            None => Ok(xs),
        }
    }
}

/// The one table of these angles that all layers share.
fn shared(ropes: &mut Vec<(Rotary, Arc<Rope>)>, rotary: Rotary, positions: usize) -> Arc<Rope> {
    if let Some((_, rope)) = ropes.iter().find(|(known, _)| *known == rotary) {
        return rope.clone();
    }
    let frequencies = Rope::frequencies(rotary.base, rotary.turned);
    let rope = Arc::new(Rope::new(frequencies, positions, rotary.style));
    ropes.push((rotary, rope.clone()));
    rope
}
