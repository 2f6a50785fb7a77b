//! Linear layers over quantised weights, on a worker's own threads.
//!
//! The weights stay as narrow as the file has them, in an order made for byte dot products ([`panel`]). A
//! product reads them once for all its rows: a panel's stretch is expanded to bytes in the first-level cache
//! ([`expand`]) and multiplied with all rows' integers ([`activations`]) there ([`tile`]). One row waits for
//! memory; sixteen cost little more; from about thirty on, arithmetic binds.
//!
//! ```text
//! let layer = QuantizedLinear::from_gguf_blocks(kind, bytes, out, width)?;   once, for all workers
//! let xs = Activations::of(Isa::detect(), Precision::Byte, &hidden, width);  once per input
//! let out = matmul_all(&layers, &xs);                                        all layers on that input
//! ```
//!
//! Weights are used exactly; activations are rounded, in units of the largest of 32 neighbours. The sum of
//! each (row, output) is taken in one order, which depends on nothing else, so that a request in a batch gets
//! the numbers, to the last bit, that it gets alone.
//!
//! That activations are rounded to integers too, 32 to a scale, is llama.cpp's way. The panels, the order of the
//! sums and inputs of 16 bits are our own.

mod activations;
mod expand;
mod f16;
mod format;
mod isa;
mod kind;
mod layers;
mod linear;
mod pack;
mod panel;
mod product;
#[cfg(test)]
mod tests;
mod tile;

use activations::{Activations, Precision};
pub(crate) use kind::QuantKind;
pub(crate) use layers::QuantizedLayers;
#[cfg(test)]
use linear::QuantError;
pub(crate) use linear::QuantizedLinear;
use product::matmul_all;
