//! Models against their reference implementations, and against what is no model.
#![cfg(feature = "candle")]

mod decoder_agreement;
mod decoder_embedding;
mod decoder_engine;
mod decoder_gguf;
mod decoder_worker;
mod diffusion_agreement;
mod diffusion_worker;
mod encoder_agreement;
mod encoder_faults;
mod encoder_worker;
mod five_pools;
mod image_agreement;
mod image_faults;
mod image_worker;
mod keys;
mod pictures;
mod serving;
mod support;
mod vision_agreement;
mod vision_captions;
mod vision_faults;
mod vision_worker;
