//! What can go wrong with a GGUF file.

use std::io;

use candle_core::Shape;

use super::tokenizer::VocabularyFlaw;
use crate::id::ByteSize;

/// Why a GGUF file, or something in it, cannot be used. Messages name files by their name, never by a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file is refused before anything in it is loaded.
    #[error("{file} is refused as GGUF: {flaw}; download or convert it again")]
    Invalid {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        #[source]
        flaw: GgufFlaw,
    },
    /// The file cannot be opened or read, or is no regular file.
    #[error("{file} cannot be read")]
    Read {
        /// The file's name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not the one that was checked.
    #[error(
        "{file} had {expected} bytes when it was checked and has {found} now; let no one write it while it loads"
    )]
    Changed {
        /// The file's name.
        file: String,
        /// The length the header was checked against.
        expected: u64,
        /// The length now.
        found: u64,
    },
    /// The metadata lack something, or have something else in its place.
    #[error("{file}: {source}")]
    Metadata {
        /// The file's name.
        file: String,
        /// What is missing or wrong.
        source: KeyError,
    },
    /// There is no such tensor.
    #[error("{file} has no tensor {name:?}")]
    MissingTensor {
        /// The file's name.
        file: String,
        /// The name asked for.
        name: String,
    },
    /// A tensor does not have the shape that the metadata imply.
    #[error("tensor {name:?} of {file} has shape {found:?} where its metadata imply {expected:?}")]
    WrongShape {
        /// The file's name.
        file: String,
        /// The tensor.
        name: String,
        /// The shape asked for.
        expected: Shape,
        /// The shape in the file.
        found: Shape,
    },
    /// A tensor is stored in a way that cannot be computed with here.
    #[error(
        "tensor {name:?} of {file} is stored as {stored}, which is not supported; supported are F32, F16, BF16, Q4_0, Q8_0, Q4_K, Q5_K, Q6_K"
    )]
    UnsupportedTensor {
        /// The file's name.
        file: String,
        /// The tensor.
        name: String,
        /// How it is stored, as GGUF calls it.
        stored: String,
    },
    /// The system does not have the memory, whatever the budget says.
    #[error("tensor {name:?} of {file} needs {needed} of memory, which the system refuses")]
    OutOfMemory {
        /// The file's name.
        file: String,
        /// The tensor.
        name: String,
        /// What it takes.
        needed: ByteSize,
    },
    /// The tokenizer in the file cannot be used.
    #[error("the tokenizer of {file} cannot be used: {flaw}")]
    Tokenizer {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        #[source]
        flaw: VocabularyFlaw,
    },
}

/// Why a key of the metadata does not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such key.
    #[error("the metadata have no {key:?}")]
    Missing {
        /// The key.
        key: String,
    },
    /// The key holds something else.
    #[error("the metadata hold {found} as {key:?} where {expected} belongs")]
    WrongKind {
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

/// Why a file is refused as GGUF.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message describes its fields")]
pub enum GgufFlaw {
    #[error("it does not begin with \"GGUF\"")]
    NotGguf,
    #[error("it is big-endian, which is not supported")]
    BigEndian,
    #[error("it is of version {version}; versions 2 and 3 are supported")]
    Version { version: u32 },
    #[error("{what} would take {needs} bytes where the file has {room} left")]
    Truncated { what: &'static str, needs: u64, room: u64 },
    #[error("its header, metadata and list of tensors take more than {limit} bytes")]
    DescriptionTooLong { limit: u64 },
    #[error("it has {count} metadata keys; at most {limit} are accepted")]
    TooManyKeys { count: u64, limit: u64 },
    #[error("a metadata key has {len} bytes, more than {limit}")]
    KeyTooLong { len: usize, limit: usize },
    #[error("the metadata key {key:?} is there twice")]
    DuplicateKey { key: String },
    #[error("the metadata key {key:?} has a value of the unknown type {code}")]
    UnknownValue { key: String, code: u32 },
    #[error("the metadata key {key:?} is a list of lists, which is not supported")]
    NestedList { key: String },
    #[error("the metadata key {key:?} has {value} as a truth value")]
    BadBool { key: String, value: u8 },
    #[error("{what} is no UTF-8")]
    NotUtf8 { what: &'static str },
    #[error("its alignment is {alignment}, not a power of two in 1..=4096")]
    Alignment { alignment: String },
    #[error("it lists {count} tensors; at most {limit} are accepted")]
    TooManyTensors { count: u64, limit: usize },
    #[error("a tensor name has {len} bytes, more than {limit}")]
    NameTooLong { len: usize, limit: usize },
    #[error("tensor {name:?} is listed twice")]
    DuplicateTensor { name: String },
    #[error("tensor {name:?} has {dims} dimensions, more than 4")]
    TooManyDims { name: String, dims: u32 },
    #[error("tensor {name:?} has no elements")]
    Empty { name: String },
    #[error("the size of tensor {name:?} overflows")]
    SizeOverflow { name: String },
    #[error("tensor {name:?} has rows of {width}, which blocks of {block} do not fill")]
    BrokenRow { name: String, width: usize, block: usize },
    #[error("tensor {name:?} begins at {offset}, which is no multiple of {alignment}")]
    Misaligned { name: String, offset: u64, alignment: u64 },
    #[error("tensor {name:?} takes {bytes} bytes from {offset} of {data} data bytes")]
    OutOfBounds { name: String, offset: u64, bytes: u64, data: u64 },
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap { first: String, second: String },
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}
