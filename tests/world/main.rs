//! The models that ship, through the pools that serve them: what they say is true of their world, at least as often as
//! their cards claim, of combinations that no training has shown them.
#![cfg(feature = "candle")]

mod card;
mod drawings;
mod golden;
mod pictures;
mod scenes;
mod served;
mod texts;
