//! Tiny random models in `tests/fixtures`, with an example beside each: what goes in, and what the reference makes
//! of it.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};

use super::Scope;
use crate::kernels::Precision;
use crate::weights::{ModelFolder, WeightStore};

#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) folder: ModelFolder,
    tensors: HashMap<String, Tensor>,
}

impl Example {
    /// The model in the folder `fixture`, such as `diffusion_transformer/sd3`.
    pub(crate) fn of(fixture: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
        let tensors = candle_core::safetensors::load(folder.with_extension("safetensors"), &Device::Cpu);
        Self { folder: ModelFolder::local(&folder).unwrap(), tensors: tensors.unwrap() }
    }

    /// One of what goes in or comes out.
    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    /// Numbers by name.
    pub(crate) fn numbers(&self, name: &str) -> Vec<f32> {
        self.tensor(name).to_vec1().unwrap()
    }

    /// How many numbers the model's matrices and convolutions are, of the tensors that are `wanted` by name.
    pub(crate) fn matrix_numbers(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let files = self.folder.weight_files().unwrap();
        let matrices = files.tensors().filter(|tensor| tensor.shape.len() > 1 && wanted(&tensor.name));
        matrices.map(|tensor| tensor.elements() as u64).sum()
    }

    /// What `load` makes of the model's weights.
    pub(crate) fn model<T>(&self, load: impl FnOnce(&Scope<'_>) -> T) -> T {
        let files = self.folder.weight_files().unwrap();
        let store = WeightStore::open(&files, DType::F32, &Device::Cpu).unwrap();
        load(&Scope::root(&store, Precision::F32))
    }
}

/// How far `got` is from `expected`, of the same numbers in any shape, beside the largest of them.
pub(crate) fn off(got: &Tensor, expected: &Tensor) -> Result<f32> {
    let (got, expected) = (got.flatten_all()?, expected.flatten_all()?);
    let off = (&got - &expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
    // What is no number is far from any.
    let largest = expected.abs()?.max_all()?.to_scalar::<f32>()?;
    Ok(if got.to_vec1::<f32>()?.iter().all(|x| x.is_finite()) { off / largest } else { f32::INFINITY })
}
