//! How weights lie in memory: panels of 32 output rows, cut along the row into records of one block each.
//!
//! A record is the block of 32 rows ("lanes") side by side, so that one register of bytes holds four
//! neighbours of each of 16 lanes, which is what the byte dot product instructions take. Codes are kept at
//! the width they have in the file. With `g` the group of four neighbours, `n` the lane, `i` the place in the
//! group:
//!
//! | part | place | kinds |
//! | --- | --- | --- |
//! | `d`, then `dmin` where there is one | f16 at `2 n` | all |
//! | scales: 8 (`Q4K`, `Q5K`) or 16 (`Q6K`) | byte at `32 s + n` | K |
//! | mins: 8 | byte at `32 s + n` | `Q4K`, `Q5K` |
//! | codes, 8 bits, plus 128 | byte at `128 g + 4 n + i` | `Q8_0` |
//! | codes, low 4 bits | byte at `128 (g / 2) + 4 n + i`, upper half where `g` is odd | the others |
//! | codes, bit 4 | byte at `128 (g / 8) + 4 n + i`, bit `g % 8` | `Q5K` |
//! | codes, bits 4 and 5 | byte at `128 (g / 4) + 4 n + i`, bits `2 (g % 4)` | `Q6K` |
//!
//! Lanes beyond the last output row are zero.

use super::QuantKind;

/// Output rows in a panel.
pub(super) const LANES: usize = 32;
/// Bytes of one group of four neighbours in all lanes, unpacked.
pub(super) const GROUP: usize = 4 * LANES;

/// Where the parts of a record begin, in bytes from its own beginning; `bytes` is its length. A part that a kind
/// lacks takes none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) scales: usize,
    pub(super) mins: usize,
    pub(super) codes: usize,
    pub(super) high: usize,
    pub(super) bytes: usize,
}

impl Record {
    pub(super) const fn of(kind: QuantKind) -> Self {
        let (halves, scales, mins, codes, high) = match kind {
            QuantKind::Q8_0 => (1, 0, 0, 8 * GROUP, 0),
            QuantKind::Q4_0 => (1, 0, 0, 4 * GROUP, 0),
            QuantKind::Q4K => (2, 8, 8, 32 * GROUP, 0),
            QuantKind::Q5K => (2, 8, 8, 32 * GROUP, 8 * GROUP),
            QuantKind::Q6K => (1, 16, 0, 32 * GROUP, 16 * GROUP),
        };
        let scales_at = 2 * halves * LANES;
        let mins_at = scales_at + scales * LANES;
        let codes_at = mins_at + mins * LANES;
        let high_at = codes_at + codes;
        Self { scales: scales_at, mins: mins_at, codes: codes_at, high: high_at, bytes: high_at + high }
    }
}
