//! What a vision transformer is made of, whichever family's `config.json` says so.

use super::layout::Layout;
use crate::arch::activation::activation_called;
use crate::arch::bounds::{epsilon_within, layers_within, within};
use crate::arch::{ArchError, Architecture, Bias};
use crate::image::ProcessorKind;
use crate::kernels::Activation;

/// The shape of a network: what each family's configuration comes down to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VitConfig {
    /// The family.
    pub architecture: Architecture,
    /// The width of a patch's vector.
    pub hidden_size: usize,
    /// How many layers.
    pub num_hidden_layers: usize,
    /// How many parts attention looks at separately; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// The width inside the feed-forward part of a layer.
    pub intermediate_size: usize,
    /// Pixels on a side of the pictures it was trained with.
    pub image_size: usize,
    /// Pixels on a side of a patch.
    pub patch_size: usize,
    pub(crate) activation: Activation,
    pub(crate) norm_eps: f64,
    pub(crate) qkv_bias: Bias,
    pub(crate) patch_bias: Bias,
    pub(crate) patch_order: PatchOrder,
    /// Whether the feed-forward part is gated.
    pub(crate) gated: bool,
    /// Whether there is a norm before the first layer.
    pub(crate) norm_first: bool,
    /// Whether each part's output is scaled, number by number.
    pub(crate) layer_scale: bool,
    /// What comes before the patches.
    pub(crate) before: Before,
    pub(crate) places: Places,
    pub(crate) head: Head,
    /// How checkpoints call the tensors.
    pub(crate) layout: &'static Layout,
    /// How pictures are prepared where the folder does not say.
    pub(crate) processor: ProcessorKind,
}

/// The numbers that every family's configuration has under one name or another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_channels: usize,
    pub(super) image_size: usize,
    pub(super) patch_size: usize,
}

/// The tokens before those of the patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// One that comes to stand for the whole picture, with a place of its own.
    pub(crate) class: bool,
    /// Some that hold what layers want to keep, without places.
    pub(crate) registers: usize,
}

/// What becomes of the vectors of places when a picture has another size than those trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// There is no such picture.
    Fixed,
    /// They are stretched or shrunk, by cubic pieces.
    Cubic {
        /// Whether shrinking looks at all of them.
        antialias: bool,
    },
    /// They are stretched or shrunk, by straight pieces; shrinking looks at all of them.
    Linear,
}

/// How the numbers of a patch lie in the weights that read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchOrder {
    /// All of red, of green, of blue: `[hidden, 3, size, size]`.
    Colours,
    /// Pixel by pixel: `[hidden, size x size x 3]`.
    Pixels,
}

/// What makes one vector of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Head {
    /// The class token, normalised; and a linear layer to so many numbers.
    Class { projection: Option<usize> },
    /// As [`Head::Class`], and a linear layer with a function behind, if the checkpoint has one.
    Pooler { size: usize, activation: Activation },
    /// A learned question, asked of all patches, normalised.
    Probe,
    /// None: the vectors of all tokens stay, normalised or as the last layer gives them.
    Tokens { normalised: bool },
}

impl Sizes {
    /// Checks every number against what a real model may have, so that nothing that is allocated or divided by
    /// afterwards is absurd.
    fn check(&self) -> Result<(), ArchError> {
        let (layers, heads) = (self.num_hidden_layers, self.num_attention_heads);
        layers_within(self.hidden_size, layers, heads, self.intermediate_size)?;
        within("num_channels", self.num_channels, 3..=3)?;
        within("patch_size", self.patch_size, 1..=256)?;
        within("image_size", self.image_size, self.patch_size..=4096)?;
        Ok(())
    }
}

impl VitConfig {
    /// A network in the manner of `ViT`, of which the other families then change what they do otherwise: a class token
    /// and no registers, places that are fixed, biases everywhere, no gate, the class token as the answer.
    ///
    /// # Errors
    ///
    /// [`ArchError::BadConfig`] for numbers that no real model has.
    pub(super) fn like_vit(
        architecture: Architecture,
        sizes: Sizes,
        norm_eps: f64,
        activation: &str,
        layout: &'static Layout,
        processor: ProcessorKind,
    ) -> Result<Self, ArchError> {
        sizes.check()?;
        epsilon_within(norm_eps)?;
        Ok(Self {
            architecture,
            hidden_size: sizes.hidden_size,
            num_hidden_layers: sizes.num_hidden_layers,
            num_attention_heads: sizes.num_attention_heads,
            intermediate_size: sizes.intermediate_size,
            image_size: sizes.image_size,
            patch_size: sizes.patch_size,
            activation: activation_called(activation)?,
            norm_eps,
            qkv_bias: Bias::Present,
            patch_bias: Bias::Present,
            patch_order: PatchOrder::Colours,
            gated: false,
            norm_first: false,
            layer_scale: false,
            before: Before { class: true, registers: 0 },
            places: Places::Fixed,
            head: Head::Class { projection: None },
            layout,
            processor,
        })
    }

    /// How many patches a side of the pictures it was trained with has.
    pub(crate) fn trained_side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// How many tokens come before the patches.
    pub(crate) fn tokens_before(&self) -> usize {
        usize::from(self.before.class) + self.before.registers
    }

    /// The width of one attention head.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// How many numbers a picture's vector has.
    pub(crate) fn dimensions(&self) -> usize {
        match self.head {
            Head::Class { projection: Some(size) } | Head::Pooler { size, .. } => size,
            Head::Class { projection: None } | Head::Probe | Head::Tokens { .. } => self.hidden_size,
        }
    }
}
