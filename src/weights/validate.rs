//! What a safetensors file claims, checked before anything trusts it.
//!
//! The header is the only part of the file that can lie, so it is the only part read here. A table that
//! comes out of [`read_header`] tiles the file: every range lies inside it, none overlaps, none is missing,
//! and every size fits a `usize`. Later layers index by these numbers without checking them again.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Deserialize, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::json::brief;

/// The longest header accepted, as in the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The most tensors accepted in one file.
pub const MAX_TENSORS: usize = 100_000;
/// The most dimensions accepted in one tensor.
pub const MAX_DIMS: usize = 16;
/// The longest tensor name accepted, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// One tensor of a file, as its header describes it and as the file can hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name, unique among the files of one model.
    pub name: String,
    /// How the file stores it; conversion happens at load.
    pub dtype: Dtype,
    /// Its dimensions. Their product, zeros counted as ones, fits a `usize`.
    pub shape: Vec<usize>,
    /// The file that holds it.
    pub file: Arc<Path>,
    /// Its bytes, counted from the start of the file.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Why a file is refused as safetensors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message describes its fields")]
pub enum Flaw {
    #[error("it has {len} bytes, too few for a header")]
    TooShort { len: u64 },
    #[error("its header claims {claimed} bytes where at most {allowed} are allowed")]
    HeaderLength { claimed: u64, allowed: u64 },
    #[error("its header cannot be read: {detail}")]
    HeaderJson { detail: String },
    #[error("it lists more than {limit} tensors")]
    TooManyTensors { limit: usize },
    #[error("a tensor name has {len} bytes, more than {MAX_NAME_BYTES}")]
    NameTooLong { len: usize },
    #[error("tensor {name:?} is listed twice")]
    DuplicateName { name: String },
    #[error("tensor {name:?} has the unknown dtype {dtype:?}")]
    UnknownDtype { name: String, dtype: String },
    #[error("tensor {name:?} has more than {MAX_DIMS} dimensions")]
    TooManyDims { name: String },
    #[error("the size of tensor {name:?} overflows")]
    SizeOverflow { name: String },
    #[error("tensor {name:?} lies at {begin}..{end} of {data} data bytes")]
    BadRange { name: String, begin: u64, end: u64, data: u64 },
    #[error("tensor {name:?} needs {needs} bytes by its shape and has {has}")]
    SizeMismatch { name: String, needs: u64, has: u64 },
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap { first: String, second: String },
    #[error("{bytes} bytes before tensor {name:?} belong to no tensor")]
    Gap { name: String, bytes: u64 },
    #[error("the last {bytes} bytes belong to no tensor")]
    Trailing { bytes: u64 },
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}

/// Reads and checks the header of a safetensors file of `len` bytes, whose tensors will say they live in `file`.
///
/// Reads no further than the header. The table is in file order.
pub fn read_header(mut reader: impl Read, len: u64, file: &Arc<Path>) -> Result<Vec<TensorInfo>, Flaw> {
    let header = header_bytes(&mut reader, len)?;
    let Entries(entries) =
        serde_json::from_slice(&header).map_err(|e| Flaw::HeaderJson { detail: brief(&e) })?;
    if entries.len() > MAX_TENSORS {
        return Err(Flaw::TooManyTensors { limit: MAX_TENSORS });
    }
    let start = 8 + header.len() as u64;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        tensors.push(check_entry(name, entry, start, len, file)?);
    }
    check_names(&tensors)?;
    // Ties only occur between empty tensors and the one that follows them: the empty ones come first.
    tensors.sort_by_key(|t| (t.range.start, t.range.end));
    check_tiling(&tensors, start, len)?;
    Ok(tensors)
}

fn header_bytes(reader: &mut impl Read, len: u64) -> Result<Vec<u8>, Flaw> {
    let Some(room) = len.checked_sub(8) else { return Err(Flaw::TooShort { len }) };
    let mut prefix = [0; 8];
    reader.read_exact(&mut prefix)?;
    let claimed = u64::from_le_bytes(prefix);
    let allowed = room.min(MAX_HEADER_BYTES);
    if claimed > allowed {
        return Err(Flaw::HeaderLength { claimed, allowed });
    }
    let mut header = vec![0; claimed as usize];
    reader.read_exact(&mut header)?;
    if header.first() != Some(&b'{') {
        return Err(Flaw::HeaderJson { detail: "it does not begin with '{'".to_owned() });
    }
    Ok(header)
}

fn check_entry(
    name: String,
    entry: Entry,
    start: u64,
    len: u64,
    file: &Arc<Path>,
) -> Result<TensorInfo, Flaw> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Flaw::NameTooLong { len: name.len() });
    }
    let text: StrDeserializer<'_, ValueError> = entry.dtype.as_str().into_deserializer();
    let Ok(dtype) = Dtype::deserialize(text) else {
        let dtype = entry.dtype.chars().take(32).collect();
        return Err(Flaw::UnknownDtype { name, dtype });
    };
    let Dims(shape) = entry.shape;
    if shape.len() > MAX_DIMS {
        return Err(Flaw::TooManyDims { name });
    }
    let Some(needs) = size_in_bytes(&shape, dtype) else { return Err(Flaw::SizeOverflow { name }) };
    let (begin, end) = entry.data_offsets;
    let data = len - start;
    if begin > end || end > data {
        return Err(Flaw::BadRange { name, begin, end, data });
    }
    if end - begin != needs {
        return Err(Flaw::SizeMismatch { name, needs, has: end - begin });
    }
    Ok(TensorInfo { name, dtype, shape, file: file.clone(), range: start + begin..start + end })
}

/// `None` where a size, or a stride that candle derives from the shape, would overflow: zero dimensions
/// make the product zero but not the strides, so they count as one.
fn size_in_bytes(shape: &[usize], dtype: Dtype) -> Option<u64> {
    let strides = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim.max(1)))?;
    let elements = if shape.contains(&0) { 0 } else { strides };
    let bits = elements.checked_mul(dtype.bitsize())?;
    bits.is_multiple_of(8).then_some((bits / 8) as u64)
}

fn check_names(tensors: &[TensorInfo]) -> Result<(), Flaw> {
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Flaw::DuplicateName { name: pair[0].to_owned() }),
        None => Ok(()),
    }
}

fn check_tiling(sorted: &[TensorInfo], start: u64, len: u64) -> Result<(), Flaw> {
    let mut covered = start;
    let mut previous = "";
    for tensor in sorted {
        if tensor.range.start < covered {
            return Err(Flaw::Overlap { first: previous.to_owned(), second: tensor.name.clone() });
        }
        if tensor.range.start > covered {
            return Err(Flaw::Gap { name: tensor.name.clone(), bytes: tensor.range.start - covered });
        }
        covered = tensor.range.end;
        previous = &tensor.name;
    }
    if covered < len { Err(Flaw::Trailing { bytes: len - covered }) } else { Ok(()) }
}

#[derive(serde::Deserialize)]
struct Entry {
    dtype: String,
    shape: Dims,
    data_offsets: (u64, u64),
}

/// The header in file order, duplicates kept. Stops collecting one past the limit, so that a hostile header
/// costs no more memory than an honest one.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" || entries.len() > MAX_TENSORS {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// A shape, cut one past the limit for the same reason as [`Entries`].
struct Dims(Vec<usize>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dims, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if dims.len() <= MAX_DIMS {
                        dims.push(dim);
                    }
                }
                Ok(Dims(dims))
            }
        }

        deserializer.deserialize_seq(Collect)
    }
}
