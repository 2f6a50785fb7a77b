//! JSON files of a model folder: read whole, within a limit, into typed values.

use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::id::ByteSize;

/// The largest JSON file read.
pub const MAX_JSON: ByteSize = ByteSize::mib(16);

/// Why a JSON file of a model could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It cannot be opened or read, or is no regular file.
    #[error("{file} cannot be read")]
    Read {
        /// Folder and file name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is longer than [`MAX_JSON`].
    #[error("{file} is larger than {limit}, which no configuration file needs")]
    TooLarge {
        /// Folder and file name.
        file: String,
        /// The limit.
        limit: ByteSize,
    },
    /// It is not JSON, nested too deep, or not of the expected form.
    #[error("{file} is not what this model needs: {detail}")]
    Parse {
        /// Folder and file name.
        file: String,
        /// Where and why.
        detail: String,
    },
}

/// A number in a configuration that no sane model has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, outside {min}..={max}; correct the configuration")]
pub struct OutOfRange {
    /// The field, as the file spells it.
    pub field: &'static str,
    /// What it holds.
    pub value: usize,
    /// The smallest value allowed.
    pub min: usize,
    /// The largest value allowed.
    pub max: usize,
}

/// Passes `value` through if it lies in `range`.
///
/// ```
/// use millpond::weights::check_range;
/// assert_eq!(check_range("num_hidden_layers", 6, 1..=1024), Ok(6));
/// assert!(check_range("num_attention_heads", 0, 1..=1024).is_err());
/// ```
pub fn check_range(
    field: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<usize, OutOfRange> {
    let (min, max) = range.into_inner();
    if (min..=max).contains(&value) { Ok(value) } else { Err(OutOfRange { field, value, min, max }) }
}

/// Reads the JSON file at `path`, which messages call `file`. Fails on anything but a regular file, so that
/// a pipe or a device cannot hang it.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, file: &str) -> Result<T, JsonError> {
    serde_json::from_slice(&read_small(path, file)?)
        .map_err(|error| JsonError::Parse { file: file.to_owned(), detail: brief(&error) })
}

/// Reads the file at `path` as one text, likewise.
pub(super) fn read_text(path: &Path, file: &str) -> Result<String, JsonError> {
    String::from_utf8(read_small(path, file)?)
        .map_err(|error| JsonError::Parse { file: file.to_owned(), detail: error.utf8_error().to_string() })
}

fn read_small(path: &Path, file: &str) -> Result<Vec<u8>, JsonError> {
    let bytes =
        read_bounded(path, MAX_JSON).map_err(|source| JsonError::Read { file: file.to_owned(), source })?;
    bytes.ok_or_else(|| JsonError::TooLarge { file: file.to_owned(), limit: MAX_JSON })
}

/// The error without the long values it may quote, which are a stranger's text.
pub(super) fn brief(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}... at line {} column {}", &text[..end], error.line(), error.column()),
        None => text,
    }
}

/// All of a regular file, anything else being an error. `None` if it is longer than `limit`; the length is taken
/// from the bytes, not from the metadata, which a file that grows would outrun.
pub(crate) fn read_bounded(path: &Path, limit: ByteSize) -> io::Result<Option<Vec<u8>>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.bytes() + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit.bytes()).then_some(bytes))
}
