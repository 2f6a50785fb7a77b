//! The network: what all workers of a model share. Computes on packed pictures; `tokens` below is the sum of their
//! patches and of what comes before each one's.

use candle_core::{Device, Result, Tensor};

use super::config::{PatchOrder, VitConfig};
use super::head::{Head, numbers};
use super::patches::{Grid, PackedPictures};
use super::positions::Positions;
use crate::arch::encoder::{FeedForward, Gate, Layer, Orientation, SelfAttention, usual_scale};
use crate::arch::{ArchError, Bias, Scope};
use crate::image::PixelValues;
use crate::kernels::{Linear, Norm};

/// A vision transformer of any family.
#[derive(Debug)]
pub(crate) struct Network {
    patch: Linear,
    positions: Positions,
    /// What comes before a picture's patches, with its place: `[tokens before, hidden]`.
    before: Vec<f32>,
    norm_first: Option<Norm>,
    layers: Vec<Layer>,
    head: Head,
    patch_size: usize,
    hidden_size: usize,
    tokens_before: usize,
}

impl Network {
    /// Takes its tensors out of `root`. Most pictures will have the `usual` size, in patches.
    pub(crate) fn load(
        root: &Scope<'_>,
        config: &VitConfig,
        usual: Option<Grid>,
    ) -> std::result::Result<Self, ArchError> {
        let layout = config.layout;
        let scope = root.sub_if(layout.inside, &format!("{}.weight", layout.patch));
        let first =
            || scope.layer_norm(layout.norm_first, config.hidden_size, config.norm_eps, Bias::Present);
        let norm_first = config.norm_first.then(first).transpose()?;
        let positions = load_positions(&scope, config, usual)?;
        let before = load_before(&scope, config, &positions.class)?;
        let layers =
            (0..config.num_hidden_layers).map(|i| load_layer(&scope.sub(layout.layers).sub(i), config));
        Ok(Self {
            patch: load_patch(&scope, config)?,
            positions,
            before,
            norm_first,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            head: Head::load(root, &scope, config)?,
            patch_size: config.patch_size,
            hidden_size: config.hidden_size,
            tokens_before: config.tokens_before(),
        })
    }

    /// The vectors of `pictures`, `[pictures, dimensions]`; without a head, `[tokens, hidden]`. There must be at
    /// least one, and each must have at least one patch.
    pub(crate) fn forward(&self, pictures: &[&PixelValues]) -> Result<Tensor> {
        let packed = PackedPictures::new(pictures, self.patch_size, self.tokens_before);
        let mut xs = self.embed(&packed)?;
        if let Some(norm) = &self.norm_first {
            xs = norm.forward(&xs)?;
        }
        for layer in &self.layers {
            xs = layer.forward(&xs, &[], &packed.spans)?;
        }
        self.head.forward(&xs, &packed.spans)
    }

    /// `[tokens, hidden]`
    fn embed(&self, packed: &PackedPictures) -> Result<Tensor> {
        let (width, inputs) = (self.hidden_size, 3 * self.patch_size * self.patch_size);
        let patches = packed.patches.len() / inputs;
        let patches = Tensor::from_slice(&packed.patches, (patches, inputs), &Device::Cpu)?;
        let patches = numbers(&self.patch.forward(&patches)?)?;
        let tokens = packed.spans.last().map_or(0, |span| span.end);
        let (mut xs, mut rest) = (Vec::with_capacity(tokens * width), patches.as_slice());
        for grid in &packed.grids {
            xs.extend_from_slice(&self.before);
            let (own, others) = rest.split_at(grid.patches() * width);
            rest = others;
            xs.extend(own.iter().zip(&*self.positions.of(*grid)).map(|(patch, place)| patch + place));
        }
        Tensor::from_vec(xs, (tokens, width), &Device::Cpu)
    }
}

/// A convolution whose steps are as long as its kernel is wide is a linear layer on squares. It reads them colour by
/// colour, in whatever order the checkpoint has the weights.
fn load_patch(scope: &Scope<'_>, config: &VitConfig) -> std::result::Result<Linear, ArchError> {
    let (width, size) = (config.hidden_size, config.patch_size);
    let scope = scope.sub(config.layout.patch);
    let weight = match config.patch_order {
        PatchOrder::Colours => scope.tensor("weight", [width, 3, size, size])?,
        PatchOrder::Pixels => {
            let pixels =
                scope.tensor("weight", [width, 3 * size * size])?.reshape((width, size * size, 3))?;
            pixels.transpose(1, 2)?.contiguous()?
        }
    };
    let weight = weight.reshape((width, 3 * size * size))?;
    let bias = match config.patch_bias {
        Bias::Present => vec![scope.tensor("bias", [width])?],
        Bias::Absent => Vec::new(),
    };
    Ok(Linear::joined(&[weight], &bias, scope.precision())?)
}

fn load_positions(
    scope: &Scope<'_>,
    config: &VitConfig,
    usual: Option<Grid>,
) -> std::result::Result<Positions, ArchError> {
    let (width, side, class) = (config.hidden_size, config.trained_side(), usize::from(config.before.class));
    let (name, rows) = (config.layout.places, side * side + class);
    let table = if name.ends_with(".weight") {
        scope.tensor(name, [rows, width])?
    } else {
        scope.tensor(name, [1, rows, width])?
    };
    let mut class_place = numbers(&table)?;
    let patches = class_place.split_off(class * width);
    Ok(Positions::new(class_place, patches, side, config.places, usual))
}

/// `[tokens before, hidden]`
fn load_before(
    scope: &Scope<'_>,
    config: &VitConfig,
    class_place: &[f32],
) -> std::result::Result<Vec<f32>, ArchError> {
    let (width, name) = (config.hidden_size, config.layout.class);
    let mut before = Vec::new();
    if config.before.class {
        let token = if config.layout.places.ends_with(".weight") {
            scope.tensor(name, [width])?
        } else {
            scope.tensor(name, [1, 1, width])?
        };
        before.extend(numbers(&token)?.iter().zip(class_place).map(|(token, place)| token + place));
    }
    if config.before.registers > 0 {
        let registers = [1, config.before.registers, width];
        before.extend(numbers(&scope.tensor("embeddings.register_tokens", registers)?)?);
    }
    Ok(before)
}

fn load_layer(scope: &Scope<'_>, config: &VitConfig) -> std::result::Result<Layer, ArchError> {
    let (layout, width, inner) = (config.layout, config.hidden_size, config.intermediate_size);
    let norm = |name| scope.layer_norm(name, width, config.norm_eps, Bias::Present);
    let attention = SelfAttention {
        qkv: layout.qkv.load(scope, width, config.qkv_bias)?,
        output: load_output(scope, config, (layout.attention_output, width), layout.scales[0])?,
        heads: config.num_attention_heads,
        head_size: config.head_size(),
        scale: usual_scale(config.head_size()),
        orientation: Orientation::default(),
    };
    let (up, gate) = if config.gated { (2 * inner, Gate::Present) } else { (inner, Gate::Absent) };
    let feed_forward = FeedForward {
        up: scope.linear(layout.up, width, up, Bias::Present)?,
        down: load_output(scope, config, (layout.down, inner), layout.scales[1])?,
        activation: config.activation,
        gate,
    };
    Ok(Layer::of(norm(layout.attention_norm)?, attention, norm(layout.feed_forward_norm)?, feed_forward))
}

/// A linear layer of so many inputs at the end of a part. What its outputs are scaled by, if they are, goes into
/// its weights.
fn load_output(
    scope: &Scope<'_>,
    config: &VitConfig,
    (name, inputs): (&str, usize),
    scale: &str,
) -> std::result::Result<Linear, ArchError> {
    let width = config.hidden_size;
    if !config.layer_scale {
        return scope.linear(name, inputs, width, Bias::Present);
    }
    let scale = scope.tensor(scale, [width])?;
    let layer = scope.sub(name);
    let weight = layer.tensor("weight", [width, inputs])?.broadcast_mul(&scale.reshape((width, 1))?)?;
    let bias = (layer.tensor("bias", [width])? * scale)?;
    Ok(Linear::joined(&[weight], &[bias], scope.precision())?)
}
