//! From blocks as a GGUF file has them to records of a panel (see [`panel`](super::panel)). Back to numbers:
//! [`expand::lane`](super::expand::lane).

use super::QuantKind;
use super::panel::{GROUP, LANES, Record};

/// Writes one block of the file into its lane of a record. False where a scale is not a finite number.
pub(super) fn pack(kind: QuantKind, block: &[u8], lane: usize, record: &mut [u8]) -> bool {
    let lane = Lane { record, at: Record::of(kind), number: lane };
    match kind {
        QuantKind::Q8_0 => pack_q8_0(block, lane),
        QuantKind::Q4_0 => pack_q4_0(block, lane),
        QuantKind::Q4K => pack_k(block, None, &block[16..], lane),
        QuantKind::Q5K => pack_k(block, Some(&block[16..48]), &block[48..], lane),
        QuantKind::Q6K => pack_q6k(block, lane),
    }
}

/// One lane of a record that begins as zeros.
struct Lane<'a> {
    record: &'a mut [u8],
    at: Record,
    number: usize,
}

impl Lane<'_> {
    fn put_half(&mut self, index: usize, block: &[u8]) -> bool {
        let at = 2 * (index * LANES + self.number);
        self.record[at..at + 2].copy_from_slice(&block[..2]);
        half::f16::from_le_bytes([block[0], block[1]]).is_finite()
    }

    fn put_scale(&mut self, index: usize, scale: u8) {
        self.record[self.at.scales + index * LANES + self.number] = scale;
    }

    fn put_min(&mut self, index: usize, min: u8) {
        self.record[self.at.mins + index * LANES + self.number] = min;
    }

    /// The byte that holds a part of neighbour `k`, `shared` groups to a byte.
    fn byte(&mut self, start: usize, k: usize, shared: usize) -> &mut u8 {
        &mut self.record[start + k / 4 / shared * GROUP + 4 * self.number + k % 4]
    }

    fn put_low(&mut self, k: usize, code: u8) {
        let shift = 4 * (k / 4 % 2);
        *self.byte(self.at.codes, k, 2) |= (code & 15) << shift;
    }

    fn put_bit(&mut self, k: usize, code: u8) {
        *self.byte(self.at.high, k, 8) |= (code >> 4 & 1) << (k / 4 % 8);
    }

    fn put_two_bits(&mut self, k: usize, code: u8) {
        *self.byte(self.at.high, k, 4) |= (code >> 4 & 3) << (2 * (k / 4 % 4));
    }
}

fn pack_q8_0(block: &[u8], mut lane: Lane) -> bool {
    for (k, q) in block[2..34].iter().enumerate() {
        *lane.byte(lane.at.codes, k, 1) = q ^ 0x80;
    }
    lane.put_half(0, block)
}

/// Byte `i` of the file holds neighbours `i` and `i + 16`.
fn pack_q4_0(block: &[u8], mut lane: Lane) -> bool {
    for (k, q) in block[2..18].iter().enumerate() {
        lane.put_low(k, q & 15);
        lane.put_low(k + 16, q >> 4);
    }
    lane.put_half(0, block)
}

/// `Q4K` and `Q5K`. Of each 64 neighbours, 32 bytes of the file hold the first 32 in their lower halves.
fn pack_k(block: &[u8], high: Option<&[u8]>, low: &[u8], mut lane: Lane) -> bool {
    for sub in 0..8 {
        let (scale, min) = scale_and_min(&block[4..16], sub);
        lane.put_scale(sub, scale);
        lane.put_min(sub, min);
    }
    for k in 0..256 {
        let (sub, i) = (k / 32, k % 32);
        lane.put_low(k, low[sub / 2 * 32 + i] >> (4 * (sub % 2)));
        if let Some(high) = high {
            lane.put_bit(k, (high[i] >> sub & 1) << 4);
        }
    }
    let d = lane.put_half(0, block);
    lane.put_half(1, &block[2..]) && d
}

/// Sixteen 6-bit numbers in 12 bytes: the first eight bytes hold the first four scales and mins, and, in
/// their upper two bits, what the last four bytes lack.
fn scale_and_min(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        return (packed[sub] & 63, packed[sub + 4] & 63);
    }
    let low = packed[sub + 4];
    (low & 15 | packed[sub - 4] >> 6 << 4, low >> 4 | packed[sub] >> 6 << 4)
}

/// 128 neighbours are four quarters of 32: byte `i` of 64 holds `i` and `i + 64`, byte `i` of 32 two bits of
/// each quarter.
fn pack_q6k(block: &[u8], mut lane: Lane) -> bool {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    for k in 0..256 {
        let (part, quarter, i) = (k / 128, k % 128 / 32, k % 32);
        let four = low[part * 64 + quarter % 2 * 32 + i] >> (4 * (quarter / 2)) & 15;
        let two = high[part * 32 + i] >> (2 * quarter) & 3;
        lane.put_low(k, four);
        lane.put_two_bits(k, two << 4);
    }
    for (sub, scale) in rest[..16].iter().enumerate() {
        lane.put_scale(sub, *scale);
    }
    lane.put_half(0, &rest[16..])
}
