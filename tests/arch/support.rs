//! Where the model folders are, and how far two vectors are apart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond::Dtype;
use millpond::arch::{ArchError, EmbeddingWeights};
use millpond::capability::{EmbedRequest, Embedding, ModelError};
use millpond::weights::ModelFolder;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// One text with what the reference makes of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) text: String,
    pub(crate) prompt_name: Option<String>,
    pub(crate) tokens: usize,
    pub(crate) truncated: bool,
    pub(crate) embedding: Vec<f32>,
}

impl Case {
    pub(crate) fn request(&self) -> EmbedRequest {
        let request = EmbedRequest::new(self.text.as_str());
        match &self.prompt_name {
            Some(name) => request.prompt_name(name.as_str()),
            None => request,
        }
    }
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder").join(name)
}

pub(crate) fn shapes_embed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed")
}

pub(crate) fn cases(name: &str) -> Vec<Case> {
    let file = std::fs::read(fixture(&format!("{name}.json"))).expect("the fixture is there");
    serde_json::from_slice(&file).expect("the fixture is as make.py writes it")
}

pub(crate) fn folder(path: &Path) -> ModelFolder {
    ModelFolder::local(path).expect("the folder is there")
}

pub(crate) fn load(path: &Path) -> Result<Arc<EmbeddingWeights>, ArchError> {
    EmbeddingWeights::load(&folder(path), Dtype::F32).map(Arc::new)
}

pub(crate) fn embed_one(weights: &EmbeddingWeights, request: EmbedRequest) -> Result<Embedding, ModelError> {
    weights.embed(&[request]).pop().expect("one answer to one request")
}

/// A copy of a fixture that a test may damage.
pub(crate) fn copy_of(name: &str) -> TempDir {
    copied(&fixture(name))
}

/// The same of any folder.
pub(crate) fn copied(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_into(folder, copy.path());
    copy
}

pub(crate) fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_into(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Sets one entry of a JSON file, or removes it where `value` is null.
pub(crate) fn patch(folder: &Path, file: &str, field: &str, value: Value) {
    let path = folder.join(file);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    match value {
        Value::Null => drop(json.as_object_mut().unwrap().remove(field)),
        value => json[field] = value,
    }
    std::fs::write(path, json.to_string()).unwrap();
}

/// How well vectors agree: over all that are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreement {
    pub(crate) min_cosine: f64,
    pub(crate) max_difference: f32,
}

impl Agreement {
    pub(crate) const PERFECT: Self = Self { min_cosine: 1.0, max_difference: 0.0 };

    pub(crate) fn with(self, got: &[f32], expected: &[f32]) -> Self {
        assert_eq!(got.len(), expected.len(), "as many dimensions as the reference");
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = dot(got, expected) / (dot(got, got) * dot(expected, expected)).sqrt();
        let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(cosine.is_finite() && difference.is_finite());
        Self { min_cosine: self.min_cosine.min(cosine), max_difference: self.max_difference.max(difference) }
    }

    pub(crate) fn require(self, name: &str) {
        println!("{name}: min cosine {:.9}, max difference {:e}", self.min_cosine, self.max_difference);
        assert!(self.min_cosine >= 0.99999, "{name}: {self:?}");
        assert!(self.max_difference <= 1e-4, "{name}: {self:?}");
    }
}
