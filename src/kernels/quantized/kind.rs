//! The kinds of quantised weights, as GGUF files name them: formats of ggml, whose `ggml-common.h` and
//! `ggml-quants.c` say where each bit is.

/// How the weights of one block are written.
///
/// A block holds 32 or 256 neighbours of one row. `d` and `dmin` are f16, one of each per block; a weight is
/// - `Q8_0`: `d * q`, q in -128..=127; 8.5 bits;
/// - `Q4_0`: `d * (q - 8)`, q in 0..=15; 4.5 bits;
/// - `Q4K`: `d * scale * q - dmin * min`, q in 0..=15, 6-bit scale and min per 32; 4.5 bits (here 4.625);
/// - `Q5K`: the same with q in 0..=31; 5.5 bits (here 5.625);
/// - `Q6K`: `d * scale * (q - 32)`, q in 0..=63, an 8-bit scale per 16; 6.5625 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuantKind {
    /// 8 bits, one scale per 32.
    Q8_0,
    /// 4 bits, one scale per 32.
    Q4_0,
    /// 4 bits, scale and minimum per 32.
    Q4K,
    /// 5 bits, scale and minimum per 32.
    Q5K,
    /// 6 bits, one scale per 16.
    Q6K,
}

impl QuantKind {
    /// Weights in a block: the row length is a multiple of it.
    pub(crate) const fn block_weights(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block in the file.
    pub(crate) const fn block_bytes(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }
}
