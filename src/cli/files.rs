//! Small files that users write: conversations, schemas, tensors, prompts on standard input. And where pictures go.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, stdin};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

use super::failure::Failure;
use crate::id::ByteSize;

/// No prompt, schema or conversation is longer.
const MOST: u64 = 16 << 20;

/// What the JSON in the file says.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let file = || path.display().to_string();
    let unreadable = |source| Failure::File { file: file(), source };
    let bytes = read(File::open(path).map_err(unreadable)?, unreadable, file)?;
    serde_json::from_slice(&bytes).map_err(|source| Failure::NotJson { file: file(), source })
}

/// Shape and numbers of the tensor called `name` in a safetensors file.
pub(super) fn read_tensor(path: &Path, name: &str) -> Result<(Vec<usize>, Vec<f32>), Failure> {
    let file = || path.display().to_string();
    let unreadable = |source| Failure::File { file: file(), source };
    let bytes = read(File::open(path).map_err(unreadable)?, unreadable, file)?;
    let wrong = |reason: String| Failure::NotATensor { file: file(), reason };
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
    let tensor = tensors.tensor(name).map_err(|error| wrong(error.to_string()))?;
    if tensor.dtype() != Dtype::F32 {
        return Err(wrong(format!("{name:?} is stored as {:?}, not F32", tensor.dtype())));
    }
    let numbers = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    Ok((tensor.shape().to_vec(), numbers.collect()))
}

/// The prompt that an argument is or stands for: `-` for all of standard input, as it is.
pub(super) fn prompt_argument(argument: &str) -> Result<String, Failure> {
    if argument == "-" { read_prompt() } else { Ok(argument.to_owned()) }
}

fn read_prompt() -> Result<String, Failure> {
    let bytes = read(stdin().lock(), Failure::Input, || "standard input".to_owned())?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        let line_began = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = before.split(|byte| *byte == b'\n').count();
        Failure::NotUtf8 { line, byte: valid - line_began + 1 }
    })
}

/// Before anything is computed that is to go there: there is a folder for the file.
pub(super) fn check_folder(file: &Path) -> Result<(), Failure> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if file.file_name().is_some() && folder.is_dir() {
        return Ok(());
    }
    Err(Failure::Unwritable { file: file.display().to_string(), source: Error::from(ErrorKind::NotFound) })
}

fn read(
    input: impl Read,
    unreadable: impl Fn(Error) -> Failure,
    name: impl Fn() -> String,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    input.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST {
        return Err(Failure::FileTooLong { file: name(), limit: ByteSize::new(MOST) });
    }
    Ok(bytes)
}
