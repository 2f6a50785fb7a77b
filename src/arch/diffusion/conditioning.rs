//! What a denoising network is told besides the noisy picture.

use candle_core::Tensor;

/// Of a batch of pictures, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Conditioning {
    /// The vectors of the prompts' tokens, `[pictures x length, width]`.
    pub(crate) tokens: Tensor,
    /// Tokens of each prompt.
    pub(crate) length: usize,
    /// One vector for each prompt as a whole, `[pictures, width]`, for networks that want one.
    pub(crate) pooled: Option<Tensor>,
    /// Original height and width, top and left of the crop, target height and width, for networks that want them
    /// (SDXL).
    pub(crate) sizes: Option<Vec<[f32; 6]>>,
    /// How strongly each prompt is to be followed, for networks that were distilled to be told (FLUX.1 dev, LCM).
    pub(crate) guidance: Option<Vec<f32>>,
}
