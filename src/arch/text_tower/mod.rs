//! Text towers: the parts of CLIP and `SigLIP` that read texts, whose vectors lie beside those of pictures.
//!
//! Both are encoders that normalise before each part, with the layers of [`encoder`](super::encoder), and give one
//! vector for a text by themselves. CLIP's tokens see what is before them, and the end of the text stands for all
//! of it. `SigLIP`'s see the whole text, filled up to its full length as in training, and the last one, filling or
//! not, stands for it. Reference: `modeling_clip.py`, `modeling_siglip.py` and
//! `modeling_siglip2.py` of Hugging Face transformers.

mod config;
mod network;

pub use config::TextTowerConfig;
pub(crate) use network::{Depth, Network};
