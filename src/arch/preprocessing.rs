//! Where a folder says how pictures are prepared.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ArchError, missing};
use crate::image::PreprocessorConfig;
use crate::weights::ModelFolder;

const FILE: &str = "preprocessor_config.json";

/// `processor_config.json`, in which newer files keep what `preprocessor_config.json` says in older ones.
#[derive(Deserialize)]
struct ProcessorFile<T> {
    image_processor: Option<T>,
}

/// How pictures are prepared for a network that reads one as one.
pub(super) fn read_preprocessor(folder: &ModelFolder) -> Result<PreprocessorConfig, ArchError> {
    read_image_processor(folder)
}

/// The same for networks with preprocessing of their own.
pub(super) fn read_image_processor<T: DeserializeOwned>(folder: &ModelFolder) -> Result<T, ArchError> {
    if let Some(config) = folder.read_json(FILE)? {
        return Ok(config);
    }
    let newer: Option<ProcessorFile<T>> = folder.read_json("processor_config.json")?;
    newer.and_then(|file| file.image_processor).ok_or_else(|| missing(folder, FILE))
}
