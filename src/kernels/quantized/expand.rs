//! From a record to one byte per code and f32 scales: a stretch of a panel as the dot products read it.
//!
//! Done once per panel for all rows of activations, into a buffer that stays in the first-level cache.

use super::format::Format;
use super::panel::{GROUP, LANES, Record};
use super::{QuantKind, f16};

/// Steps of 32 neighbours in a stretch: 256 of them.
pub(super) const STEPS: usize = 8;
/// Bytes of a step's codes.
pub(super) const STEP_CODES: usize = 8 * GROUP;

/// Up to [`STEPS`] steps of one panel.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Expanded {
    /// `[step][group][lane][4]`.
    pub(super) codes: [u8; STEPS * STEP_CODES],
    /// `[step][lane]`, or `[step][half][lane]`.
    pub(super) scales: [f32; 2 * STEPS * LANES],
    /// `[step][lane]`.
    pub(super) mins: [f32; STEPS * LANES],
}

impl Expanded {
    pub(super) const fn new() -> Self {
        Self { codes: [0; _], scales: [0.0; _], mins: [0.0; _] }
    }

    /// The codes of the records that this was filled from, and the bytes from one step to the next: codes of
    /// 8 bits are read where they are.
    pub(super) fn codes<'a>(&'a self, kind: QuantKind, records: &'a [u8]) -> (&'a [u8], usize) {
        match kind {
            QuantKind::Q8_0 => (&records[Record::of(kind).codes..], Record::of(kind).bytes),
            _ => (&self.codes, STEP_CODES),
        }
    }

    /// Fills this from the records of one stretch: one of 256 weights, or up to eight of 32.
    #[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
    #[inline(always)]
    pub(super) fn fill<F: Format>(&mut self, records: &[u8]) {
        match F::KIND {
            QuantKind::Q8_0 => self.fill_q8_0(records),
            QuantKind::Q4_0 => self.fill_q4_0(records),
            QuantKind::Q4K | QuantKind::Q5K | QuantKind::Q6K => self.fill_k::<F>(records),
        }
    }

    #[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
    #[inline(always)]
    fn fill_q8_0(&mut self, records: &[u8]) {
        const AT: Record = Record::of(QuantKind::Q8_0);
        for (scales, record) in self.scales.chunks_exact_mut(LANES).zip(records.chunks_exact(AT.bytes)) {
            halves(&record[..AT.codes], scales);
        }
    }

    #[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
    #[inline(always)]
    fn fill_q4_0(&mut self, records: &[u8]) {
        const AT: Record = Record::of(QuantKind::Q4_0);
        let steps = self.codes.chunks_exact_mut(STEP_CODES).zip(self.scales.chunks_exact_mut(LANES));
        for ((codes, scales), record) in steps.zip(records.chunks_exact(AT.bytes)) {
            nibbles(&record[AT.codes..AT.bytes], codes);
            halves(&record[..AT.codes], scales);
        }
    }

    #[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
    #[inline(always)]
    fn fill_k<F: Format>(&mut self, record: &[u8]) {
        let at = const { Record::of(F::KIND) };
        let record = &record[..at.bytes];
        let (codes, high) = record[at.codes..].split_at(at.high - at.codes);
        match F::BITS {
            5 => nibbles_and_bits(codes, high, &mut self.codes),
            6 => nibbles_and_two_bits(codes, high, &mut self.codes),
            _ => nibbles(codes, &mut self.codes),
        }
        let mut d = [0f32; LANES];
        halves(&record[..2 * LANES], &mut d);
        if F::MINS {
            let mut dmin = [0f32; LANES];
            halves(&record[2 * LANES..4 * LANES], &mut dmin);
            products(&record[at.mins..at.codes], &dmin, &mut self.mins, f32::from);
            products(&record[at.scales..at.mins], &d, &mut self.scales, f32::from);
        } else {
            products(&record[at.scales..at.mins], &d, &mut self.scales, |scale| {
                f32::from(scale.cast_signed())
            });
        }
    }
}

#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn halves(bytes: &[u8], out: &mut [f32]) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *out = f16::to_f32(u16::from_le_bytes(*bytes));
    }
}

#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn products(scales: &[u8], d: &[f32; LANES], out: &mut [f32], value: impl Fn(u8) -> f32) {
    for (out, scales) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(scales.as_chunks::<LANES>().0) {
        for n in 0..LANES {
            out[n] = d[n] * value(scales[n]);
        }
    }
}

/// Two groups from each `GROUP` bytes.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn nibbles(low: &[u8], out: &mut [u8]) {
    for (out, low) in out.as_chunks_mut::<GROUP>().0.chunks_exact_mut(2).zip(low.as_chunks::<GROUP>().0) {
        for n in 0..GROUP {
            out[0][n] = low[n] & 15;
        }
        for n in 0..GROUP {
            out[1][n] = low[n] >> 4;
        }
    }
}

#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn nibbles_and_bits(low: &[u8], high: &[u8], out: &mut [u8]) {
    let out = out.as_chunks_mut::<GROUP>().0.chunks_exact_mut(8);
    let low = low.as_chunks::<GROUP>().0.chunks_exact(4);
    for ((out, low), high) in out.zip(low).zip(high.as_chunks::<GROUP>().0) {
        for g in 0..4 {
            for n in 0..GROUP {
                out[2 * g][n] = low[g][n] & 15 | (high[n] >> (2 * g) & 1) << 4;
            }
            for n in 0..GROUP {
                out[2 * g + 1][n] = low[g][n] >> 4 | (high[n] >> (2 * g + 1) & 1) << 4;
            }
        }
    }
}

#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn nibbles_and_two_bits(low: &[u8], high: &[u8], out: &mut [u8]) {
    let out = out.as_chunks_mut::<GROUP>().0.chunks_exact_mut(4);
    let low = low.as_chunks::<GROUP>().0.chunks_exact(2);
    for ((out, low), high) in out.zip(low).zip(high.as_chunks::<GROUP>().0) {
        for g in 0..2 {
            for n in 0..GROUP {
                out[2 * g][n] = low[g][n] & 15 | (high[n] >> (4 * g) & 3) << 4;
            }
            for n in 0..GROUP {
                out[2 * g + 1][n] = low[g][n] >> 4 | (high[n] >> (4 * g + 2) & 3) << 4;
            }
        }
    }
}

/// The weights of one lane of a record, as numbers.
pub(super) fn lane(kind: QuantKind, record: &[u8], lane: usize, out: &mut [f32]) {
    let at = Record::of(kind);
    let half = |index: usize| {
        let bytes = &record[2 * (index * LANES + lane)..];
        f16::to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let byte =
        |start: usize, g: usize, shared: usize, i: usize| record[start + g / shared * GROUP + 4 * lane + i];
    let sub = |start: usize, index: usize| record[start + index * LANES + lane];
    for (k, out) in out.iter_mut().enumerate() {
        let (g, i) = (k / 4, k % 4);
        let low = || byte(at.codes, g, 2, i) >> (4 * (g % 2)) & 15;
        *out = match kind {
            QuantKind::Q8_0 => half(0) * (f32::from(byte(at.codes, g, 1, i)) - 128.0),
            QuantKind::Q4_0 => half(0) * (f32::from(low()) - 8.0),
            QuantKind::Q4K | QuantKind::Q5K => {
                let bit = if kind == QuantKind::Q5K { byte(at.high, g, 8, i) >> (g % 8) & 1 } else { 0 };
                let scale = half(0) * f32::from(sub(at.scales, k / 32));
                scale * f32::from(low() | bit << 4) - half(1) * f32::from(sub(at.mins, k / 32))
            }
            QuantKind::Q6K => {
                let two = byte(at.high, g, 4, i) >> (2 * (g % 4)) & 3;
                let scale = half(0) * f32::from(sub(at.scales, k / 16).cast_signed());
                scale * (f32::from(low() | two << 4) - 32.0)
            }
        };
    }
}
