//! The tensors of one model, read one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};
use parking_lot::Mutex;

use super::error::WeightsError;
use super::safetensors::{WeightFile, WeightFiles, loaded_dtype, stored_dtype};
use super::validate::TensorInfo;
use crate::id::ByteSize;

/// Elements converted at a time. Below 65,536, where candle hands work to its process-wide barrier pool; and
/// small enough that loading needs little more memory than what it loads.
const PIECE: usize = 32 * 1024;

/// The tensors of one model's files, read when they are asked for.
///
/// Nothing is kept: each call reads the tensor anew. A network takes what it needs once, rearranges it as its
/// kernels want it, and is itself what the workers of a key share; so loading needs memory for the network and
/// for one tensor more, never for two copies of the weights.
pub struct WeightStore {
    label: Arc<str>,
    files: Vec<OpenFile>,
    /// Where each tensor is: which file, which of its tensors.
    places: BTreeMap<String, (usize, usize)>,
    dtype: DType,
    device: Device,
    bytes: ByteSize,
}

/// A checked file, open. Reading moves its cursor, so readers take turns.
struct OpenFile {
    file: WeightFile,
    reader: Mutex<File>,
}

impl WeightStore {
    /// Opens `files`, to read floats as `dtype` onto `device`, integers as they are.
    ///
    /// Files are read rather than mapped: a mapped file that someone truncates kills the process, and a
    /// converted copy leaves a map nothing to share. They stay open as long as the store.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] if a file cannot be opened or is not the one that was checked, and if the system does
    /// not grant the memory that all tensors would take.
    pub fn open(files: &WeightFiles, dtype: DType, device: &Device) -> Result<Self, WeightsError> {
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64) {
            return Err(WeightsError::UnsupportedTarget(dtype));
        }
        if device.is_cpu() {
            probe_memory(files, dtype)?;
        }
        let mut open = Vec::new();
        let mut places = BTreeMap::new();
        for (number, file) in files.files().iter().enumerate() {
            let names = file.tensors.iter().enumerate();
            places.extend(names.map(|(place, info)| (info.name.clone(), (number, place))));
            open.push(OpenFile { reader: Mutex::new(reopen(file)?), file: file.clone() });
        }
        let (label, bytes) = (files.label().into(), files.predicted_bytes(dtype));
        Ok(Self { label, files: open, places, dtype, device: device.clone(), bytes })
    }

    /// What [`WeightStore::bytes`] will be, from the headers alone.
    pub fn predicted_bytes(files: &WeightFiles, dtype: DType) -> ByteSize {
        files.predicted_bytes(dtype)
    }

    /// Reads the tensor called `name`, which must have the shape `shape`.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] for a tensor that is not there (it names the nearest), has another shape, or is stored
    /// in a form candle cannot compute with, and for files that cannot be read or have changed.
    pub fn tensor(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor, WeightsError> {
        let (file, info) = self.find(name)?;
        let expected = shape.into();
        if expected.dims() == info.shape {
            return self.read(file, info);
        }
        let found = Shape::from_dims(&info.shape);
        Err(WeightsError::WrongShape {
            model: self.label().to_owned(),
            name: name.to_owned(),
            expected,
            found,
        })
    }

    /// Reads the tensor called `name`, where its shape is what is wanted to know.
    ///
    /// # Errors
    ///
    /// As [`tensor`](Self::tensor).
    pub fn tensor_of_any_shape(&self, name: &str) -> Result<Tensor, WeightsError> {
        let (file, info) = self.find(name)?;
        self.read(file, info)
    }

    /// The shape of the tensor called `name`, if there is one to compute with. Reads nothing.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).ok().map(|(_, info)| info.shape.as_slice())
    }

    /// Whether there is a tensor called `name` to compute with.
    pub fn contains(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The names of all tensors to compute with, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str).filter(|name| self.contains(name))
    }

    /// What all tensors take in memory when each is read once.
    pub fn bytes(&self) -> ByteSize {
        self.bytes
    }

    /// What the model is called in messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where it is; an error unless candle can compute with it. Many checkpoints carry a tensor that it cannot
    /// and that no architecture reads, so having one is no fault of the file's.
    fn find(&self, name: &str) -> Result<(&OpenFile, &TensorInfo), WeightsError> {
        let model = || self.label().to_owned();
        let Some((number, place)) = self.places.get(name) else {
            let near = nearest(name, self.names());
            return Err(WeightsError::MissingTensor { near, model: model(), name: name.to_owned() });
        };
        let file = &self.files[*number];
        let info = &file.file.tensors[*place];
        match stored_dtype(info) {
            Some(_) => Ok((file, info)),
            None => {
                let (name, dtype) = (name.to_owned(), info.dtype);
                Err(WeightsError::UnsupportedDtype { model: model(), name, dtype })
            }
        }
    }

    /// Reads piece by piece, each converted on its way: the peak is the tensor as loaded and one piece.
    fn read(&self, file: &OpenFile, info: &TensorInfo) -> Result<Tensor, WeightsError> {
        let (Some(stored), Some(loaded)) = (stored_dtype(info), loaded_dtype(info, self.dtype)) else {
            unreachable!("find gives only tensors that candle can compute with")
        };
        let elements = info.elements();
        let whole = Tensor::zeros(elements, loaded, &self.device)?;
        let failed = |source| WeightsError::Read { file: file.file.name.clone(), source };
        let mut reader = file.reader.lock();
        reader.seek(SeekFrom::Start(info.range.start)).map_err(failed)?;
        let mut buffer = Vec::new();
        for begin in (0..elements).step_by(PIECE) {
            let len = PIECE.min(elements - begin);
            buffer.resize(len * stored.size_in_bytes(), 0);
            reader.read_exact(&mut buffer).map_err(failed)?;
            let piece = Tensor::from_raw_buffer(&buffer, stored, &[len], &Device::Cpu)?;
            whole.slice_set(&piece.to_dtype(loaded)?.to_device(&self.device)?, 0, begin)?;
        }
        Ok(whole.reshape(info.shape.as_slice())?)
    }
}

impl fmt::Debug for WeightStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightStore")
            .field("label", &self.label)
            .field("tensors", &self.places.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Fails where allocating would: candle allocates in a way that aborts the process, and a sparse file can
/// claim any size. Costs nothing, as pages are not touched.
fn probe_memory(files: &WeightFiles, dtype: DType) -> Result<(), WeightsError> {
    let needed = files.predicted_bytes(dtype);
    let mut probe = Vec::<u8>::new();
    let granted = usize::try_from(needed.bytes()).is_ok_and(|n| probe.try_reserve_exact(n).is_ok());
    // An allocation that nobody looks at is one the optimiser may remove.
    std::hint::black_box(&probe);
    if granted { Ok(()) } else { Err(WeightsError::OutOfMemory { model: files.label().to_owned(), needed }) }
}

/// Opens a checked file again, unless it is visibly another one by now. A change that keeps the length is
/// harmless: all bytes are numbers to us.
fn reopen(file: &WeightFile) -> Result<File, WeightsError> {
    let read = |source| WeightsError::Read { file: file.name.clone(), source };
    let reader = File::open(&file.path).map_err(read)?;
    let found = reader.metadata().map_err(read)?.len();
    if found != file.len {
        return Err(WeightsError::Changed { file: file.name.clone(), expected: file.len, found });
    }
    Ok(reader)
}

/// Up to three of `names` that `name` may have meant, best first.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    const CANDIDATES: usize = 2000;
    let close = name.len() / 2;
    let mut ranked: Vec<(usize, &str)> = names
        .filter(|other| other.len().abs_diff(name.len()) <= close)
        .take(CANDIDATES)
        .map(|other| (edit_distance(name.as_bytes(), other.as_bytes()), other))
        .filter(|(distance, _)| *distance <= close)
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(3).map(|(_, other)| other.to_owned()).collect()
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
