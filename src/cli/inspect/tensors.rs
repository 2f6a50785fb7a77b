//! The tensors of a model, however its files describe them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::id::ByteSize;
use crate::weights::{GgufFile, WeightFiles};

/// All of them.
pub(super) struct Stored {
    tensors: Vec<Tensor>,
    pub(super) bytes_on_disk: ByteSize,
}

/// What `--json --tensors` prints for each tensor.
#[derive(Serialize)]
struct Tensor {
    #[serde(rename = "tensor")]
    name: String,
    dtype: String,
    shape: Vec<usize>,
    #[serde(skip)]
    bytes: u64,
}

impl From<&WeightFiles> for Stored {
    fn from(files: &WeightFiles) -> Self {
        let tensors = files.tensors().map(|tensor| Tensor {
            name: tensor.name.clone(),
            dtype: format!("{:?}", tensor.dtype).to_ascii_lowercase(),
            shape: tensor.shape.clone(),
            bytes: tensor.range.end - tensor.range.start,
        });
        Self { tensors: tensors.collect(), bytes_on_disk: files.bytes_on_disk() }
    }
}

impl From<&GgufFile> for Stored {
    fn from(file: &GgufFile) -> Self {
        let tensors = file.tensors().map(|tensor| Tensor {
            name: tensor.name.clone(),
            dtype: tensor.stored.to_string().to_ascii_lowercase(),
            shape: tensor.shape.clone(),
            bytes: tensor.bytes().bytes(),
        });
        Self { tensors: tensors.collect(), bytes_on_disk: file.bytes_of_tensors() }
    }
}

impl Stored {
    /// Those of several parts, each named after its own.
    pub(super) fn of_parts(parts: &[(&'static str, WeightFiles)]) -> Self {
        let mut all = Self { tensors: Vec::new(), bytes_on_disk: ByteSize::ZERO };
        for (part, files) in parts {
            let Self { tensors, bytes_on_disk } = Self::from(files);
            let named = tensors
                .into_iter()
                .map(|tensor| Tensor { name: format!("{part}.{}", tensor.name), ..tensor });
            all.tensors.extend(named);
            all.bytes_on_disk = all.bytes_on_disk.saturating_add(bytes_on_disk);
        }
        all
    }

    pub(super) fn count(&self) -> usize {
        self.tensors.len()
    }

    /// How many numbers they have together.
    pub(super) fn parameters(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum()
    }

    /// The dtype that most of the stored bytes have.
    pub(super) fn dtype(&self) -> String {
        let mut bytes = BTreeMap::<&str, u64>::new();
        for tensor in &self.tensors {
            *bytes.entry(&tensor.dtype).or_default() += tensor.bytes;
        }
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or_else(|| "none".to_owned(), |(dtype, _)| dtype.to_owned())
    }

    pub(super) fn print(&self, output: &mut Output, json: bool) -> Result<(), Failure> {
        self.tensors.iter().try_for_each(|tensor| {
            if json {
                return output.json(tensor);
            }
            let Tensor { name, dtype, shape, .. } = tensor;
            output.line(format_args!("  {name}  {dtype} {shape:?}"))
        })
    }
}
