//! What a pool serves.
//!
//! A [`Capability`] names one kind of inference: what goes in, what may be heard on the way, what comes
//! out. A [`Model`] is a loaded instance that can do it; exactly one worker thread owns it, so it needs no
//! lock and need not be `Send`. The worker drives it by steps: [`admit`](Model::admit) takes a request if
//! there is room, [`step`](Model::step) advances everything admitted by one unit (one batch, one token of
//! every sequence, one denoising step). Between steps the worker admits more, drops what was canceled and
//! answers what is done: that one loop is continuous batching, prompt cancellation and a heart-beat.
//!
//! A model that only knows "a batch in, a batch out" implements [`BatchModel`] and is pooled through
//! [`Batched`].
//!
//! Public types here are plain Rust (`String`, `Vec<f32>`, encoded images): no tensor crosses this line.

mod batched;
mod capabilities;
mod image_embedding;
mod model;
mod tasks;
mod text_embedding;
mod text_to_image;
mod text_to_text;
mod vision;

pub use batched::{BatchModel, Batched};
pub use capabilities::{Capabilities, UnknownCapability};
pub use image_embedding::{EmbedImageRequest, ImageEmbedding, ImageSource, ImageVector};
pub use model::{CancelToken, Capacity, InvalidRequest, JobContext, Model, ModelError, Outbox, Slot};
pub(crate) use model::{Cancelable, Update};
pub(crate) use tasks::TaskRunner;
pub use tasks::{Task, TaskContext, TaskValue, Tasks};
pub use text_embedding::{EmbedInput, EmbedRequest, Embedding, Overlong, TextEmbedding};
pub use text_to_image::{
    DenoisingStep, DrawRequest, Drawing, DrawnPicture, InitialNoise, MAX_DENOISING_STEPS, MAX_DRAW_PROMPT,
    MAX_DRAWN, TextToImage,
};
pub use text_to_text::{
    Chat, Choice, FinishReason, GenerateRequest, Message, Prompt, ResponseFormat, Role, SamplingOptions,
    TextCompletion, TextToText, Token, TokenLogprob, TokenLogprobs, ToolCall,
};
#[cfg(feature = "candle")]
pub(crate) use text_to_text::{Extent, MAX_LARK_BYTES, MAX_REGEX_BYTES};
pub use vision::{ContentPart, DescribeRequest, ImagePlace, ImagePlaces, Vision};

/// One kind of inference. Implemented by marker types; users implement it to pool models of their own.
pub trait Capability: Send + Sync + Sized + 'static {
    /// What status reports, thread names and metrics call it: lower case, words joined by `-`.
    const NAME: &'static str;
    /// What a caller submits. Cloned only when the request may have to be tried again.
    type Request: Clone + Send + 'static;
    /// What is reported while the request runs, such as one token. [`NoEvent`] if nothing is.
    type Event: Send + 'static;
    /// The final answer.
    type Output: Send + 'static;

    /// How many tokens a request was and made, for statistics: asked once for each answer, by the worker that has it.
    /// Default: none.
    fn tokens(output: &Self::Output) -> TokenCount {
        let _ = output;
        TokenCount::default()
    }
}

/// How many tokens one request was, and made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens that were read.
    pub prompt: u64,
    /// Tokens that were written.
    pub completion: u64,
}

/// The event type of a capability that reports nothing on the way: it has no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEvent {}
