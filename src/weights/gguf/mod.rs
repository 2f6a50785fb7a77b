//! GGUF: one file with a model's configuration, tokenizer, chat template and tensors.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.
//!
//! ```text
//! header       magic, version, how many of each
//! metadata     typed values under dotted keys: "llama.block_count", "tokenizer.ggml.tokens"
//! tensors      name, dimensions, format, offset
//! data         one block of bytes per tensor, aligned
//! ```
//!
//! The first three are the file's description. [`GgufFile::open`] reads and checks all of it: whatever the
//! bytes are, the result is a typed error or a value that holds for the file's length, and takes memory in
//! proportion to the file. Nothing else reads a GGUF file; candle's own reader is not used.
//!
//! Formats that cannot be computed with are no reason to refuse a file, but to refuse their tensors when they
//! are asked for.

mod blocks;
mod cursor;
mod error;
mod file;
mod header;
mod metadata;
mod quantize;
mod storage;
mod tensors;
mod tokenizer;

pub use cursor::MAX_DESCRIPTION_BYTES;
pub use error::{GgufError, GgufFlaw, KeyError};
pub use file::GgufFile;
pub use header::{Description, read_description};
pub use metadata::{FromValue, MAX_KEY_BYTES, MAX_KEYS, Metadata, NumberKind, Numbers, Texts, Value};
pub use quantize::{Quantization, QuantizeError, UnknownQuantization, quantize_rows};
pub use storage::GgmlType;
pub use tensors::GgufTensor;
pub use tokenizer::{GgufTokenizer, SpecialTokens, VocabularyFlaw};
