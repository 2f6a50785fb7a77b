//! Which tensors a GGUF file lists, and where they lie.

use std::io::Read;
use std::ops::Range;

use super::cursor::Cursor;
use super::error::GgufFlaw;
use super::metadata::brief;
use super::storage::GgmlType;
use crate::id::ByteSize;
use crate::weights::validate::{MAX_NAME_BYTES, MAX_TENSORS};

/// The most dimensions that the format knows.
const MAX_DIMS: u32 = 4;
/// What a tensor takes in the list at least: a name's length, no dimensions, a type, an offset.
pub(super) const LEAST_ENTRY: u64 = 8 + 4 + 4 + 8;

/// One tensor of a file, as the file describes it and as it can hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name, unique in the file.
    pub name: String,
    /// Its dimensions, outermost first: the file has them the other way round. None is zero, and their product
    /// fits a `usize`.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub stored: GgmlType,
    /// Its bytes, counted from the start of the file. Empty where `stored` is a format without a known size.
    pub range: Range<u64>,
}

impl GgufTensor {
    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// What it takes in the file.
    pub fn bytes(&self) -> ByteSize {
        ByteSize::new(self.range.end - self.range.start)
    }

    /// What its numbers take as `f32`.
    pub fn bytes_as_f32(&self) -> ByteSize {
        ByteSize::new(self.elements() as u64).saturating_mul(4)
    }

    /// Its rows' length: the innermost dimension.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// What each row takes in the file; `None` where the format is not supported.
    pub fn row_bytes(&self) -> Option<usize> {
        let (block, size) = self.stored.block().filter(|_| self.stored.is_supported())?;
        Some(self.width() / block * size)
    }
}

/// One entry of the list, before it is known where the data begin.
pub(super) struct Entry {
    name: String,
    shape: Vec<usize>,
    stored: GgmlType,
    offset: u64,
    bytes: u64,
}

/// Reads `count` entries.
pub(super) fn read_entries(cursor: &mut Cursor<impl Read>, count: u64) -> Result<Vec<Entry>, GgufFlaw> {
    if count > MAX_TENSORS as u64 {
        return Err(GgufFlaw::TooManyTensors { count, limit: MAX_TENSORS });
    }
    (0..count).map(|_| read_entry(cursor)).collect()
}

fn read_entry(cursor: &mut Cursor<impl Read>) -> Result<Entry, GgufFlaw> {
    let name = cursor.text("a tensor name")?;
    if name.len() > MAX_NAME_BYTES {
        return Err(GgufFlaw::NameTooLong { len: name.len(), limit: MAX_NAME_BYTES });
    }
    let dims = cursor.u32("a number of dimensions")?;
    if dims > MAX_DIMS {
        return Err(GgufFlaw::TooManyDims { name: brief(&name), dims });
    }
    let mut shape = Vec::with_capacity(MAX_DIMS as usize);
    for _ in 0..dims {
        let dim = usize::try_from(cursor.u64("a dimension")?);
        shape.push(dim.map_err(|_| GgufFlaw::SizeOverflow { name: brief(&name) })?);
    }
    shape.reverse();
    let stored = GgmlType::from_code(cursor.u32("the type of a tensor")?);
    let offset = cursor.u64("the offset of a tensor")?;
    let bytes = size(&name, &shape, stored)?;
    Ok(Entry { name, shape, stored, offset, bytes })
}

/// What the numbers of a tensor take; nothing where the format is unknown.
fn size(name: &str, shape: &[usize], stored: GgmlType) -> Result<u64, GgufFlaw> {
    if shape.contains(&0) {
        return Err(GgufFlaw::Empty { name: brief(name) });
    }
    let overflow = || GgufFlaw::SizeOverflow { name: brief(name) };
    let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    // As f32, and as signed offsets into it, too.
    let elements = elements.filter(|n| *n <= isize::MAX as usize / 8).ok_or_else(overflow)?;
    let Some((block, bytes)) = stored.block() else { return Ok(0) };
    let width = shape.last().copied().unwrap_or(1);
    if !width.is_multiple_of(block) {
        return Err(GgufFlaw::BrokenRow { name: brief(name), width, block });
    }
    (elements / block).checked_mul(bytes).map(|bytes| bytes as u64).ok_or_else(overflow)
}

/// Gives every entry its place in a file of `len` bytes, whose data begin at `start`. Sorted by name.
pub(super) fn place(
    entries: Vec<Entry>,
    start: u64,
    alignment: u64,
    len: u64,
) -> Result<Vec<GgufTensor>, GgufFlaw> {
    let data = len.saturating_sub(start);
    let mut tensors = Vec::with_capacity(entries.len());
    for Entry { name, shape, stored, offset, bytes } in entries {
        if !offset.is_multiple_of(alignment) {
            return Err(GgufFlaw::Misaligned { name: brief(&name), offset, alignment });
        }
        if offset > data || bytes > data - offset {
            return Err(GgufFlaw::OutOfBounds { name: brief(&name), offset, bytes, data });
        }
        let range = start + offset..start + offset + bytes;
        tensors.push(GgufTensor { name, shape, stored, range });
    }
    tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[1].range.start < pair[0].range.end) {
        return Err(GgufFlaw::Overlap { first: brief(&pair[0].name), second: brief(&pair[1].name) });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(GgufFlaw::DuplicateTensor { name: brief(&pair[0].name) });
    }
    Ok(tensors)
}
