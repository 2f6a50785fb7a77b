//! A GGUF file: what it says about itself, and its tensors, one at a time.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Shape;

use super::blocks::decode;
use super::error::{GgufError, GgufFlaw};
use super::header::{Description, read_description};
use super::metadata::{FromValue, Metadata};
use super::tensors::GgufTensor;
use super::tokenizer::GgufTokenizer;
use crate::id::ByteSize;

/// Numbers decoded at a time: whole blocks of every format, and little memory beside what they become.
const PIECE: usize = 32 * 1024;

/// A GGUF file whose description is checked. Cloning is one reference count.
///
/// The file is read rather than mapped, as safetensors are: a mapped file that someone truncates kills the
/// process. It is opened again for each tensor, and must still have the length that was checked.
#[derive(Clone)]
pub struct GgufFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    label: String,
    len: u64,
    description: Description,
}

impl GgufFile {
    /// Reads and checks the description of the file at `path`; no tensor is read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref().to_owned();
        let label = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let described = || {
            let file = open_regular(&path)?;
            let len = file.metadata()?.len();
            Ok::<_, GgufFlaw>((len, read_description(BufReader::new(file), len)?))
        };
        match described() {
            Ok((len, description)) => Ok(Self { shared: Arc::new(Shared { path, label, len, description }) }),
            Err(GgufFlaw::Read(source)) => Err(GgufError::Read { file: label, source }),
            Err(flaw) => Err(GgufError::Invalid { file: label, flaw }),
        }
    }

    /// What the file is called in messages: its name.
    pub fn label(&self) -> &str {
        &self.shared.label
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// How long it is.
    pub fn size_on_disk(&self) -> ByteSize {
        ByteSize::new(self.shared.len)
    }

    /// Its keys and values.
    pub fn metadata(&self) -> &Metadata {
        &self.shared.description.metadata
    }

    /// What `key` holds, if it is there; an error if it is something else.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, GgufError> {
        self.metadata().get(key).map_err(|source| GgufError::Metadata { file: self.name(), source })
    }

    /// What `key` holds.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, GgufError> {
        self.metadata().require(key).map_err(|source| GgufError::Metadata { file: self.name(), source })
    }

    /// The family of networks, as `general.architecture` has it; it is also the prefix of the family's keys.
    pub fn architecture(&self) -> Result<&str, GgufError> {
        self.require("general.architecture")
    }

    /// The tokenizer in the file.
    pub fn tokenizer(&self) -> Result<GgufTokenizer, GgufError> {
        GgufTokenizer::read(self)
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = &GgufTensor> {
        self.shared.description.tensors.iter()
    }

    /// The tensor called `name`, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        let tensors = &self.shared.description.tensors;
        let at = tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        tensors.get(at)
    }

    /// What all tensors take in the file, which is what they take in memory if they are kept as they are.
    pub fn bytes_of_tensors(&self) -> ByteSize {
        self.tensors().map(GgufTensor::bytes).sum()
    }

    /// The tensor called `name`, which must be of a supported format.
    pub fn supported(&self, name: &str) -> Result<&GgufTensor, GgufError> {
        let missing = || GgufError::MissingTensor { file: self.name(), name: name.to_owned() };
        let tensor = self.tensor(name).ok_or_else(missing)?;
        if tensor.stored.is_supported() {
            return Ok(tensor);
        }
        let stored = tensor.stored.to_string();
        Err(GgufError::UnsupportedTensor { file: self.name(), name: name.to_owned(), stored })
    }

    /// The tensor called `name`, which must be of a supported format and the shape `shape`, outermost first.
    pub fn shaped(&self, name: &str, shape: impl Into<Shape>) -> Result<&GgufTensor, GgufError> {
        let tensor = self.supported(name)?;
        let (expected, found) = (shape.into(), Shape::from(tensor.shape.as_slice()));
        if expected == found {
            return Ok(tensor);
        }
        Err(GgufError::WrongShape { file: self.name(), name: name.to_owned(), expected, found })
    }

    /// The bytes of the tensor called `name`, as they are in the file.
    pub fn read_raw(&self, name: &str) -> Result<Vec<u8>, GgufError> {
        let tensor = self.supported(name)?;
        let mut reader = self.reader(tensor)?;
        let mut bytes = self.room(tensor, tensor.bytes())?;
        bytes.resize(tensor.bytes().bytes() as usize, 0);
        reader.read_exact(&mut bytes).map_err(|source| self.unreadable(source))?;
        Ok(bytes)
    }

    /// The numbers of the tensor called `name`, which must have the shape `shape`, outermost first.
    pub fn read_f32(&self, name: &str, shape: impl Into<Shape>) -> Result<Vec<f32>, GgufError> {
        let tensor = self.shaped(name, shape)?;
        let (block, size) = tensor.stored.block().expect("the size of a supported format is known");
        let mut reader = self.reader(tensor)?;
        let mut numbers = self.room(tensor, ByteSize::new(4 * tensor.elements() as u64))?;
        numbers.resize(tensor.elements(), 0f32);
        let mut bytes = vec![0; PIECE.min(numbers.len()) / block * size];
        for piece in numbers.chunks_mut(PIECE) {
            let bytes = &mut bytes[..piece.len() / block * size];
            reader.read_exact(bytes).map_err(|source| self.unreadable(source))?;
            decode(tensor.stored, bytes, piece);
        }
        Ok(numbers)
    }

    /// An empty list with room for `needed` bytes. Fails where allocating would abort.
    fn room<T>(&self, tensor: &GgufTensor, needed: ByteSize) -> Result<Vec<T>, GgufError> {
        let mut list = Vec::new();
        let count = needed.bytes() as usize / size_of::<T>();
        match list.try_reserve_exact(count) {
            Ok(()) => Ok(list),
            Err(_) => Err(GgufError::OutOfMemory { file: self.name(), name: tensor.name.clone(), needed }),
        }
    }

    /// The file at the start of `tensor`, unless it is visibly another one by now.
    fn reader(&self, tensor: &GgufTensor) -> Result<File, GgufError> {
        let mut file = open_regular(&self.shared.path).map_err(|source| self.unreadable(source))?;
        let found = file.metadata().map_err(|source| self.unreadable(source))?.len();
        if found != self.shared.len {
            return Err(GgufError::Changed { file: self.name(), expected: self.shared.len, found });
        }
        file.seek(SeekFrom::Start(tensor.range.start)).map_err(|source| self.unreadable(source))?;
        Ok(file)
    }

    fn unreadable(&self, source: io::Error) -> GgufError {
        GgufError::Read { file: self.name(), source }
    }

    pub(super) fn name(&self) -> String {
        self.shared.label.clone()
    }
}

/// Fails on a pipe or a device, which could hang the reader.
fn open_regular(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

impl fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { label, len, description, .. } = &*self.shared;
        f.debug_struct("GgufFile")
            .field("label", label)
            .field("len", len)
            .field("tensors", &description.tensors.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::gguf::GgmlType;

    #[test]
    fn a_piece_is_whole_blocks() {
        for stored in [GgmlType::F32, GgmlType::Q4_0, GgmlType::Q8_0, GgmlType::Q4K, GgmlType::Q6K] {
            assert!(PIECE.is_multiple_of(stored.block().unwrap().0), "{stored}");
        }
    }
}
