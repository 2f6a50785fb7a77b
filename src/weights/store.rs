//! The tensors of one model, loaded once and shared by all its workers.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};
use safetensors::Dtype;

use super::error::WeightsError;
use super::safetensors::{WeightFile, WeightFiles, loaded_dtype, stored_dtype};
use super::validate::TensorInfo;
use crate::id::ByteSize;

/// Elements converted at a time. Below 65,536, where candle hands work to its process-wide barrier pool; and
/// small enough that loading needs little more memory than what it loads.
const PIECE: usize = 32 * 1024;

/// The weights of one model in memory, read-only.
///
/// Cloning is one reference count, and so is taking a tensor out: every worker of a key computes with the
/// same bytes.
#[derive(Clone)]
pub struct WeightStore {
    shared: Arc<Shared>,
}

struct Shared {
    label: Arc<str>,
    tensors: BTreeMap<String, Tensor>,
    // In the files, but in a form candle cannot compute with. Kept so that asking gives the reason: many
    // checkpoints carry such a tensor that no architecture reads.
    unsupported: BTreeMap<String, Dtype>,
    bytes: ByteSize,
}

impl WeightStore {
    /// Loads `files` onto `device`: floats as `dtype`, integers as they are.
    ///
    /// Files are read piece by piece and each piece converted on its way, so the peak is the weights as loaded
    /// plus the largest piece. Files are read rather than mapped: a mapped file that someone truncates kills
    /// the process, and a converted copy leaves a map nothing to share.
    pub fn open(files: &WeightFiles, dtype: DType, device: &Device) -> Result<Self, WeightsError> {
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64) {
            return Err(WeightsError::UnsupportedTarget(dtype));
        }
        if device.is_cpu() {
            probe_memory(files, dtype)?;
        }
        let mut tensors = BTreeMap::new();
        let mut unsupported = BTreeMap::new();
        let mut piece = Vec::new();
        for file in files.files() {
            let mut reader = reopen(file)?;
            for info in &file.tensors {
                let (Some(stored), Some(loaded)) = (stored_dtype(info), loaded_dtype(info, dtype)) else {
                    unsupported.insert(info.name.clone(), info.dtype);
                    continue;
                };
                let tensor = read_tensor(&mut reader, file, info, (stored, loaded), device, &mut piece)?;
                tensors.insert(info.name.clone(), tensor);
            }
        }
        let label = files.label().into();
        Ok(Self {
            shared: Arc::new(Shared { label, tensors, unsupported, bytes: files.predicted_bytes(dtype) }),
        })
    }

    /// What [`WeightStore::bytes`] will be, from the headers alone.
    pub fn predicted_bytes(files: &WeightFiles, dtype: DType) -> ByteSize {
        files.predicted_bytes(dtype)
    }

    /// The tensor called `name`, which must have the shape `shape`. Shares the store's memory.
    pub fn tensor(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor, WeightsError> {
        let tensor = self.tensor_of_any_shape(name)?;
        let expected = shape.into();
        if *tensor.shape() == expected {
            return Ok(tensor);
        }
        let found = tensor.shape().clone();
        Err(WeightsError::WrongShape {
            model: self.label().to_owned(),
            name: name.to_owned(),
            expected,
            found,
        })
    }

    /// The tensor called `name`, where its shape is what is wanted to know.
    pub fn tensor_of_any_shape(&self, name: &str) -> Result<Tensor, WeightsError> {
        if let Some(tensor) = self.shared.tensors.get(name) {
            return Ok(tensor.clone());
        }
        let (model, name) = (self.label().to_owned(), name.to_owned());
        Err(match self.shared.unsupported.get(&name) {
            Some(&dtype) => WeightsError::UnsupportedDtype { model, name, dtype },
            None => WeightsError::MissingTensor { near: nearest(&name, self.names()), model, name },
        })
    }

    /// Whether there is a tensor called `name` to compute with.
    pub fn contains(&self, name: &str) -> bool {
        self.shared.tensors.contains_key(name)
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shared.tensors.keys().map(String::as_str)
    }

    /// What the tensors take in memory.
    pub fn bytes(&self) -> ByteSize {
        self.shared.bytes
    }

    /// What the model is called in messages.
    pub fn label(&self) -> &str {
        &self.shared.label
    }
}

impl fmt::Debug for WeightStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { label, tensors, bytes, .. } = &*self.shared;
        f.debug_struct("WeightStore")
            .field("label", label)
            .field("tensors", &tensors.len())
            .field("bytes", bytes)
            .finish()
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

fn read_tensor(
    reader: &mut File,
    file: &WeightFile,
    info: &TensorInfo,
    (stored, loaded): (DType, DType),
    device: &Device,
    buffer: &mut Vec<u8>,
) -> Result<Tensor, WeightsError> {
    let elements = info.elements();
    let whole = Tensor::zeros(elements, loaded, device)?;
    let read = |source| WeightsError::Read { file: file.name.clone(), source };
    reader.seek(SeekFrom::Start(info.range.start)).map_err(read)?;
    for begin in (0..elements).step_by(PIECE) {
        let len = PIECE.min(elements - begin);
        buffer.resize(len * stored.size_in_bytes(), 0);
        reader.read_exact(buffer).map_err(read)?;
        let piece = Tensor::from_raw_buffer(buffer, stored, &[len], &Device::Cpu)?;
        whole.slice_set(&piece.to_dtype(loaded)?.to_device(device)?, 0, begin)?;
    }
    Ok(whole.reshape(info.shape.as_slice())?)
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
