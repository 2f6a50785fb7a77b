//! The keys and values of many texts, in blocks.

use std::fmt;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::BLOCK_TOKENS;
use super::widen::widen;
use crate::kernels::prefetch::prefetch;

/// What the keys and values of texts under way are kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KvFormat {
    /// As they were computed.
    F32,
    /// Rounded to 11 bits, and to 65,504 what is larger: half the memory, and half of what a step reads of it.
    F16,
}

impl KvFormat {
    /// All of them, by the names users write.
    pub const ALL: [(&'static str, Self); 2] = [("f32", Self::F32), ("f16", Self::F16)];

    /// How many bytes a number takes.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

impl fmt::Display for KvFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name))
    }
}

/// The keys and values of one layer, in blocks.
///
/// Within a block a head's keys are `[head size, tokens]` and its values `[tokens, head size]`: either way
/// sixteen neighbours are what one instruction takes.
#[derive(Debug)]
pub(crate) struct PagedKv {
    keys: Numbers,
    values: Numbers,
    pub(super) heads: usize,
    pub(super) head_size: usize,
}

/// Zeros at first: the system commits memory as it is first written.
#[derive(Debug)]
enum Numbers {
    F32(Vec<f32>),
    /// Their bits.
    F16(Vec<u16>),
}

/// Keys or values of one block and head as f32.
#[derive(Debug, Default)]
pub(super) struct Widened(Vec<[f32; BLOCK_TOKENS]>);

impl PagedKv {
    /// `blocks` blocks for `heads` heads.
    pub(crate) fn new(format: KvFormat, blocks: usize, heads: usize, head_size: usize) -> Self {
        let numbers = Self::numbers(blocks, heads, head_size) / 2;
        Self { keys: Numbers::new(format, numbers), values: Numbers::new(format, numbers), heads, head_size }
    }

    /// How many numbers `blocks` blocks of one layer take.
    pub(crate) fn numbers(blocks: usize, heads: usize, head_size: usize) -> usize {
        [2, BLOCK_TOKENS, heads, head_size].into_iter().fold(blocks, usize::saturating_mul)
    }

    pub(super) fn blocks(&self) -> usize {
        self.keys.len() / (BLOCK_TOKENS * self.heads * self.head_size)
    }

    /// A head's keys in a block, `[head size, tokens]`.
    pub(super) fn keys<'a>(&'a self, block: u32, head: usize, room: &'a mut Widened) -> &'a [f32] {
        self.keys.read(self.start(block, head), BLOCK_TOKENS * self.head_size, room)
    }

    /// A head's values in a block, `[tokens, head size]`.
    pub(super) fn values<'a>(&'a self, block: u32, head: usize, room: &'a mut Widened) -> &'a [f32] {
        self.values.read(self.start(block, head), BLOCK_TOKENS * self.head_size, room)
    }

    /// Asks memory for a head's keys in a block, which will be read next.
    pub(super) fn prefetch_keys(&self, block: u32, head: usize) {
        self.keys.prefetch(self.start(block, head), BLOCK_TOKENS * self.head_size);
    }

    /// Asks memory for a head's values in a block, which will be read next.
    pub(super) fn prefetch_values(&self, block: u32, head: usize) {
        self.values.prefetch(self.start(block, head), BLOCK_TOKENS * self.head_size);
    }

    fn start(&self, block: u32, head: usize) -> usize {
        start((self.heads, self.head_size), block, head)
    }

    /// Keeps tokens' keys and values, `[heads, head size]` each: in a block of each token's own, at its place in it.
    pub(super) fn write<'a>(
        &mut self,
        places: &[(u32, usize)],
        keys: impl Iterator<Item = &'a [f32]> + Send,
        values: impl Iterator<Item = &'a [f32]> + Send,
    ) {
        let (heads, size) = (self.heads, self.head_size);
        let (kept_keys, kept_values) = (&mut self.keys, &mut self.values);
        let write_keys = || {
            for ((block, place), keys) in places.iter().zip(keys) {
                for (head, keys) in keys.chunks_exact(size).enumerate() {
                    kept_keys.write(start((heads, size), *block, head) + place, BLOCK_TOKENS, keys);
                }
            }
        };
        let write_values = || {
            for ((block, place), values) in places.iter().zip(values) {
                for (head, values) in values.chunks_exact(size).enumerate() {
                    kept_values.write(start((heads, size), *block, head) + place * size, 1, values);
                }
            }
        };
        rayon::join(write_keys, write_values);
    }

    /// Makes all of them `x`.
    #[cfg(test)]
    pub(super) fn fill(&mut self, x: f32) {
        for numbers in [&mut self.keys, &mut self.values] {
            match numbers {
                Numbers::F32(numbers) => numbers.fill(x),
                Numbers::F16(bits) => bits.fill(f16::from_f32(x).to_bits()),
            }
        }
    }
}

/// Where a head's part of a block begins, with so many heads of a size.
fn start((heads, head_size): (usize, usize), block: u32, head: usize) -> usize {
    (block as usize * heads + head) * BLOCK_TOKENS * head_size
}

impl Numbers {
    fn new(format: KvFormat, numbers: usize) -> Self {
        match format {
            KvFormat::F32 => Self::F32(vec![0.0; numbers]),
            KvFormat::F16 => Self::F16(vec![0; numbers]),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::F16(bits) => bits.len(),
        }
    }

    /// `count` numbers from `start` on, by way of `room` if they are not kept as f32.
    fn read<'a>(&'a self, start: usize, count: usize, room: &'a mut Widened) -> &'a [f32] {
        match self {
            Self::F32(numbers) => &numbers[start..][..count],
            Self::F16(bits) => {
                // Any block begins at a multiple of its tokens and is a multiple of them.
                let bits = bits[start..][..count].as_chunks().0;
                room.0.resize(bits.len(), [0.0; BLOCK_TOKENS]);
                widen(bits, &mut room.0);
                room.0.as_flattened()
            }
        }
    }

    fn prefetch(&self, start: usize, count: usize) {
        match self {
            Self::F32(numbers) => prefetch(&numbers[start..][..count]),
            Self::F16(bits) => prefetch(&bits[start..][..count]),
        }
    }

    /// Puts numbers at `start` and from there on `step` apart. What is too large for an f16 becomes the largest.
    fn write(&mut self, start: usize, step: usize, numbers: &[f32]) {
        match self {
            Self::F32(kept) => {
                let places = kept[start..].iter_mut().step_by(step);
                places.zip(numbers).for_each(|(kept, x)| *kept = *x);
            }
            Self::F16(kept) => {
                let mut places = kept[start..].iter_mut().step_by(step);
                for numbers in numbers.chunks(BLOCK_TOKENS) {
                    let rounded = rounded(numbers);
                    places.by_ref().zip(&rounded[..numbers.len()]).for_each(|(kept, x)| *kept = x.to_bits());
                }
            }
        }
    }
}

/// Up to sixteen numbers as f16.
fn rounded(numbers: &[f32]) -> [f16; BLOCK_TOKENS] {
    let largest = f16::MAX.to_f32_const();
    let mut clamped = [0f32; BLOCK_TOKENS];
    clamped.iter_mut().zip(numbers).for_each(|(clamped, x)| *clamped = x.clamp(-largest, largest));
    let mut rounded = [f16::ZERO; BLOCK_TOKENS];
    rounded.convert_from_f32_slice(&clamped);
    rounded
}
