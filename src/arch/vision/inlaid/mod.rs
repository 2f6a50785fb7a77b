//! Decoders that read pictures among the tokens of their prompts.
//!
//! A network that reads pictures makes rows of each, as wide as a decoder's vectors of tokens, and the decoder reads
//! them where the prompt shows the picture. So a text with pictures is a text: it is scheduled, cached, given up and
//! read again like any other ([`decoder`](crate::arch::decoder)), among others that show none.
//!
//! [`InlaidPlan`] is what the small files of a model folder say. [`InlaidWeights`] adds the weights and is shared;
//! [`InlaidDescriber`] is the model one worker owns. A request waits in it until all of its pictures are seen (`looking`),
//! one view in each step. Families that cut pictures into tiles see a tile in a step, so that texts under way go on
//! between them; where a picture is one view, as large as `max_pixels` lets it be in Qwen, they wait for all of it. Then
//! its prompt is put into words (`wording`) and joins them. What was made of a picture is kept for the next question.
//!
//! The families differ in how pictures are prepared, in the network that reads them, and in what stands for them in
//! a prompt: each is a [`Family`](family::Family) in a file of its own.

mod describer;
mod family;
mod gemma;
mod idefics3;
mod llava;
mod looking;
mod plan;
mod projector;
mod qwen;
mod weights;
mod wording;

pub(super) use describer::InlaidDescriber;
pub(super) use plan::InlaidPlan;
pub(super) use weights::InlaidWeights;
