//! The description at the start of a GGUF file: header, metadata, list of tensors.
//!
//! The description is the part that can lie, and the only part read here. What comes out of
//! [`read_description`] holds for the file's length: every tensor lies inside it, none overlaps another.

use std::io::Read;

use super::cursor::Cursor;
use super::error::GgufFlaw;
use super::metadata::{Metadata, Value};
use super::tensors::{GgufTensor, LEAST_ENTRY, place, read_entries};

/// What a metadata entry takes at least: a key's length, a type, one byte.
const LEAST_KEY: u64 = 8 + 4 + 1;
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 4096;

/// What a file says about itself.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Its keys and values.
    pub metadata: Metadata,
    /// Its tensors, sorted by name.
    pub tensors: Vec<GgufTensor>,
}

/// Reads and checks the description of a GGUF file of `len` bytes. Reads no further.
pub fn read_description(reader: impl Read, len: u64) -> Result<Description, GgufFlaw> {
    let mut cursor = Cursor::new(reader, len);
    check_magic(&mut cursor)?;
    let tensors = cursor.count("the list of tensors", LEAST_ENTRY)?;
    let keys = cursor.count("the metadata", LEAST_KEY)?;
    let metadata = Metadata::read(&mut cursor, keys)?;
    let alignment = alignment(&metadata)?;
    let entries = read_entries(&mut cursor, tensors)?;
    let start = cursor.position().next_multiple_of(alignment);
    let tensors = place(entries, start, alignment, len)?;
    Ok(Description { metadata, tensors })
}

fn check_magic(cursor: &mut Cursor<impl Read>) -> Result<(), GgufFlaw> {
    match &*cursor.bytes("the first four bytes", 4)? {
        b"GGUF" => {}
        b"FUGG" => return Err(GgufFlaw::BigEndian),
        _ => return Err(GgufFlaw::NotGguf),
    }
    match cursor.u32("the version")? {
        2 | 3 => Ok(()),
        version if (1..=3).contains(&version.swap_bytes()) => Err(GgufFlaw::BigEndian),
        version => Err(GgufFlaw::Version { version }),
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufFlaw> {
    const KEY: &str = "general.alignment";
    let refused = |alignment: String| GgufFlaw::Alignment { alignment };
    let Some(value) = metadata.value(KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    match (value, metadata.get::<u64>(KEY)) {
        (Value::Number(_), Ok(Some(n))) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n),
        (_, Ok(Some(n))) => Err(refused(n.to_string())),
        (other, _) => Err(refused(other.to_string())),
    }
}
