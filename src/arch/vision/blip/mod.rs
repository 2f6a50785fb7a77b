//! BLIP that captions: Li et al., "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language
//! Understanding and Generation", arXiv 2201.12086. Reference: `modeling_blip.py` and `modeling_blip_text.py` of
//! transformers.
//!
//! A vision transformer makes a row of each patch, and of all of the picture one more. What writes is in the manner of
//! BERT, but a token sees only those before it, and in each layer it looks at the picture's rows as well. A text
//! begins with a token of its own and the words of the prompt, if there are any, and the model goes on from there.
//!
//! [`BlipPlan`] is what the small files say, [`BlipWeights`] what workers share. A [`Captioner`] sees one picture in a
//! step and reads its prompt at once, beside one token of every text under way. Of a picture only its keys and values
//! in each layer are kept (`memory`), while its request is under way: for the next one it is read anew.

mod captioner;
mod config;
mod memory;
mod network;
mod plan;
mod request;
mod weights;

pub(super) use captioner::Captioner;
pub(super) use plan::BlipPlan;
pub(super) use weights::BlipWeights;
