//! Vision: pictures and text in, text out.
//!
//! [`VisionPlan`] is what the small files of a model folder say. [`VisionWeights`] adds the weights and is shared;
//! [`Describer`] is the model one worker owns. There are two ways for a network that writes to see:
//!
//! - a decoder of any family reads rows made of pictures among the tokens of its prompt ([`inlaid`]);
//! - each layer of BLIP's own looks at a picture beside the text ([`blip`]).

mod blip;
mod describer;
mod inlaid;
mod patches;
mod plan;
mod refusal;
mod weights;

pub use describer::Describer;
pub use plan::VisionPlan;
pub(crate) use plan::{gemma_sees, is_vision};
pub use weights::VisionWeights;
