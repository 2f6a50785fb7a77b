//! A model folder in the layout of sentence-transformers: where the network lies, how token vectors are
//! pooled, what happens to the pooled vector. Any network that gives a vector per token can embed by it.

use candle_core::DType;
use serde::Deserialize;

use super::bounds::not_supported;
use super::dense::{Dense, DensePlan};
use super::{ArchError, read_required};
use crate::ByteSize;
use crate::text::{AfterPooling, ModuleEntry, Pooling, PoolingConfig, PromptConfig, SentenceRecipe, Stages};
use crate::text::{TokenizerSettings, normalize_in_place};
use crate::weights::ModelFolder;

/// What the network's own settings file may be called: after its family, before sentence-transformers 1.
const SETTINGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// What the files say, before any weight is read.
#[derive(Clone, Debug)]
pub(crate) struct SentencePlan {
    pub(crate) recipe: SentenceRecipe,
    after: Vec<AfterPlan>,
}

#[derive(Clone, Debug)]
enum AfterPlan {
    Dense(DensePlan),
    Normalize,
}

/// What happens to pooled vectors, loaded.
#[derive(Debug)]
pub(crate) struct SentenceHead {
    stages: Vec<HeadStage>,
}

#[derive(Debug)]
enum HeadStage {
    Dense(Dense),
    Normalize,
}

/// `sentence_bert_config.json`.
#[derive(Debug, Default, Deserialize)]
struct NetworkSettings {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
    transformer_task: Option<String>,
}

/// The folder of the network itself: its configuration, tokenizer and weights.
pub(crate) fn network_folder(folder: &ModelFolder) -> Result<ModelFolder, ArchError> {
    match read_stages(folder)?.network {
        None => Ok(folder.clone()),
        Some(name) => folder.subfolder(&name).ok_or_else(|| ArchError::MissingFile {
            name: "0_Transformer",
            folder: folder.label().to_owned(),
        }),
    }
}

/// Whether the folder says how a text's token vectors become one: then the model embeds, whatever its network.
pub(crate) fn has_pooling(folder: &ModelFolder) -> Result<bool, ArchError> {
    Ok(read_stages(folder)?.pooling.is_some())
}

/// Whether the folder's last stage scales a picture's vector to length 1. Refuses `Dense` stages, which pictures do
/// not go through.
pub(crate) fn normalizes_pictures(folder: &ModelFolder) -> Result<bool, ArchError> {
    let stages = read_stages(folder)?;
    if stages.after.iter().any(|stage| matches!(stage, AfterPooling::Dense(_))) {
        return Err(not_supported("stage of image embedding", "Dense", &["Normalize"]));
    }
    Ok(stages.normalize)
}

/// How the tokenizer in `network` is to be set up, and how many tokens of a text are read: `max_seq_length` of
/// `sentence_bert_config.json`, else `model_max_length` of `tokenizer_config.json`, and never more than
/// `most`.
pub(crate) fn tokenizer_settings(
    network: &ModelFolder,
    most: usize,
) -> Result<(TokenizerSettings, usize), ArchError> {
    let file = SETTINGS.into_iter().find(|name| network.file(name).is_some()).unwrap_or(SETTINGS[0]);
    let sentence: NetworkSettings = network.read_json(file)?.unwrap_or_default();
    let mut settings: TokenizerSettings = network.read_json("tokenizer_config.json")?.unwrap_or_default();
    settings.lower_case_first = sentence.do_lower_case;
    if settings.cuts_left() {
        return Err(unsupported("truncation_side", "left", "right"));
    }
    if let Some(other) = sentence.transformer_task.filter(|task| task != "feature-extraction") {
        return Err(unsupported("transformer_task", &other, "feature-extraction"));
    }
    let max_tokens = sentence.max_seq_length.or(settings.max_tokens()).unwrap_or(most).min(most);
    Ok((settings, max_tokens))
}

impl SentencePlan {
    /// Reads the files of `folder` for a network whose token vectors have `width` numbers.
    pub(crate) fn read(folder: &ModelFolder, width: usize) -> Result<Self, ArchError> {
        let stages = read_stages(folder)?;
        let pooling = match &stages.pooling {
            Some(name) => read_pooling(folder, name, width)?,
            None => Pooling::mean(),
        };
        let mut dimensions = pooling.dimensions(width);
        let mut after = Vec::with_capacity(stages.after.len());
        for stage in &stages.after {
            after.push(match stage {
                AfterPooling::Normalize => AfterPlan::Normalize,
                AfterPooling::Dense(name) => {
                    let dense = DensePlan::read(folder, name, dimensions)?;
                    dimensions = dense.outputs();
                    AfterPlan::Dense(dense)
                }
            });
        }
        let prompts: PromptConfig =
            folder.read_json("config_sentence_transformers.json")?.unwrap_or_default();
        Ok(Self { recipe: SentenceRecipe::new(&stages, pooling, prompts, dimensions)?, after })
    }

    /// What the stages after pooling take in memory.
    pub(crate) fn bytes(&self) -> Result<ByteSize, ArchError> {
        let dense = self.after.iter().filter_map(|stage| match stage {
            AfterPlan::Dense(dense) => Some(dense.weight_files()),
            AfterPlan::Normalize => None,
        });
        dense.map(|files| Ok(files?.predicted_bytes(DType::F32))).sum()
    }

    /// Loads the stages after pooling.
    pub(crate) fn load(&self) -> Result<SentenceHead, ArchError> {
        let load = |stage: &AfterPlan| match stage {
            AfterPlan::Dense(dense) => Ok(HeadStage::Dense(dense.load()?)),
            AfterPlan::Normalize => Ok(HeadStage::Normalize),
        };
        Ok(SentenceHead { stages: self.after.iter().map(load).collect::<Result<_, ArchError>>()? })
    }
}

impl SentenceHead {
    /// Takes pooled vectors, all of one width, through the stages.
    pub(crate) fn forward(&self, mut pooled: Vec<Vec<f32>>) -> candle_core::Result<Vec<Vec<f32>>> {
        for stage in &self.stages {
            match stage {
                HeadStage::Dense(_) if pooled.is_empty() => {}
                HeadStage::Dense(dense) => pooled = dense.forward(&pooled)?,
                HeadStage::Normalize => pooled.iter_mut().for_each(|values| normalize_in_place(values)),
            }
        }
        Ok(pooled)
    }
}

fn read_stages(folder: &ModelFolder) -> Result<Stages, ArchError> {
    let modules: Option<Vec<ModuleEntry>> = folder.read_json("modules.json")?;
    Ok(modules.map_or_else(|| Ok(Stages::default()), |modules| Stages::of(&modules))?)
}

fn read_pooling(folder: &ModelFolder, name: &str, width: usize) -> Result<Pooling, ArchError> {
    let config: PoolingConfig = match name {
        "" => read_required(folder, "config.json")?,
        name => {
            let missing = || ArchError::MissingFile {
                name: "1_Pooling/config.json",
                folder: folder.label().to_owned(),
            };
            folder.read_json(&format!("{name}/config.json"))?.ok_or_else(missing)?
        }
    };
    let pooling = Pooling::from_config(&config)?;
    match pooling.stated_width() {
        Some(stated) if stated != width => Err(ArchError::BadConfig {
            field: "hidden_size",
            found: width.to_string(),
            expected: format!("the pooling is for token vectors of {stated} numbers"),
        }),
        _ => Ok(pooling),
    }
}

fn unsupported(what: &'static str, found: &str, supported: &'static str) -> ArchError {
    ArchError::Unsupported { what, found: found.to_owned(), supported: vec![supported] }
}
