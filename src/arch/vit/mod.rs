//! Vision transformers: networks that read a picture as a text of patches.
//!
//! Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929. A picture is cut into squares, each
//! square's pixels become a vector by one linear layer, and from there on it is an encoder that normalises before
//! each part: its layers are those of [`encoder`](super::encoder). Pictures of any sizes are computed together,
//! their patches end to end, as texts are: a picture's vector is the same alone and in company.
//!
//! The families differ in what they put before the patches (a class token, registers), in how they know where a
//! patch was (`positions`) and in what makes one vector of all (`head`). Each has a `Config` that mirrors its
//! `config.json` in `families` and comes down to a [`VitConfig`].

mod config;
mod families;
mod head;
mod layout;
mod network;
mod patches;
mod positions;
mod sizes;

pub use config::VitConfig;
pub(crate) use config::{Head, Places};
pub(crate) use families::{FAMILIES, is_vit, read, read_blip_tower, read_idefics_tower, read_tower};
pub(crate) use layout::Layout;
pub(crate) use network::Network;
pub(crate) use patches::Grid;
