//! What the arithmetic must know of a kind at compile time.

use super::QuantKind;

/// How codes become weights: `scale * (code - offset)`, or `scale * code - min` where there are
/// [`MINS`](Self::MINS).
pub(super) trait Format {
    /// The kind.
    const KIND: QuantKind;
    /// Bits of a code.
    const BITS: u32;
    /// Where activations have what the dot products start from, if codes are offset (see `EXTRA` in
    /// `activations`).
    const START: Option<usize>;
    /// Whether there is a minimum per 32.
    const MINS: bool;
    /// Whether scales are per 16, not per 32.
    const HALVES: bool;
}

macro_rules! formats {
    ($(
        $kind:ident { bits: $bits:literal, start: $start:expr, mins: $mins:literal, halves: $halves:literal }
    )*) => {$(
        #[derive(Debug)]
        pub(super) struct $kind;

        impl Format for $kind {
            const KIND: QuantKind = QuantKind::$kind;
            const BITS: u32 = $bits;
            const START: Option<usize> = $start;
            const MINS: bool = $mins;
            const HALVES: bool = $halves;
        }
    )*};
}

formats! {
    Q8_0 { bits: 8, start: Some(3), mins: false, halves: false }
    Q4_0 { bits: 4, start: Some(2), mins: false, halves: false }
    Q4K { bits: 4, start: None, mins: true, halves: false }
    Q5K { bits: 5, start: None, mins: true, halves: false }
    Q6K { bits: 6, start: Some(4), mins: false, halves: true }
}
