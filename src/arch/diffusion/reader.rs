//! One encoder of prompts, with its tokenizer.

use std::num::NonZeroUsize;

use candle_core::{DType, Device, Tensor};

use super::index::Index;
use crate::ByteSize;
use crate::arch::bounds::not_supported;
use crate::arch::packed::PackedTexts;
use crate::arch::sentence::tokenizer_settings;
use crate::arch::t5::{T5Config, T5Encoder};
use crate::arch::text_tower::{self, Depth, TextTowerConfig};
use crate::arch::{ArchError, Architecture, Scope, missing};
use crate::capability::{InvalidRequest, ModelError, Overlong};
use crate::kernels::Precision;
use crate::text::{EncodedText, SpecialTokens, Tokenizer, TokenizerError};
use crate::weights::{ModelFolder, WeightFiles, WeightStore};

/// What an encoder's files say.
#[derive(Clone, Debug)]
pub(super) struct ReaderPlan {
    pub(super) part: &'static str,
    kind: Kind,
    folder: ModelFolder,
    tokenizer: ModelFolder,
    /// Tokens of every prompt, filled up.
    pub(super) length: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The layer behind gives vectors that lie beside those of pictures, where there is one.
    Clip {
        config: TextTowerConfig,
        projects: bool,
    },
    T5(T5Config),
}

/// An encoder.
#[derive(Debug)]
pub(super) struct Reader {
    network: Network,
    tokenizer: Tokenizer,
    vocabulary: usize,
}

#[derive(Debug)]
enum Network {
    Clip(text_tower::Network),
    T5(T5Encoder),
}

/// What an encoder makes of a prompt.
#[derive(Debug)]
pub(super) struct Read {
    /// Of every token: `[length, width]`.
    pub(super) tokens: Tensor,
    /// Of the prompt as a whole, where it is CLIP that reads: `[1, width]`.
    pub(super) pooled: Option<Tensor>,
    /// Whether the prompt was cut.
    pub(super) truncated: bool,
}

impl ReaderPlan {
    /// Reads the configuration of one encoder. T5 reads `most` tokens, CLIP as many as its tokenizer says.
    pub(super) fn read(
        index: &Index,
        part: &'static str,
        tokenizer: &'static str,
        most: usize,
    ) -> Result<Self, ArchError> {
        let (folder, tokenizer) = (index.part(part)?, index.part(tokenizer)?);
        let clip = |projects| {
            let config = TextTowerConfig::read(&folder, Architecture::Clip)?;
            let (_, length) = tokenizer_settings(&tokenizer, config.max_positions)?;
            Ok::<_, ArchError>((Kind::Clip { config, projects }, length))
        };
        let (kind, length) = match index.class(part).unwrap_or("none") {
            "CLIPTextModel" => clip(false)?,
            "CLIPTextModelWithProjection" => clip(true)?,
            "T5EncoderModel" => (Kind::T5(T5Config::read(&folder)?), most),
            other => {
                let known = ["CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"];
                return Err(not_supported("text encoder", other, &known));
            }
        };
        Ok(Self { part, kind, folder, tokenizer, length })
    }

    pub(super) fn is_clip(&self) -> bool {
        matches!(self.kind, Kind::Clip { .. })
    }

    /// How many layers there are.
    pub(super) fn layers(&self) -> usize {
        match &self.kind {
            Kind::Clip { config, .. } => config.num_hidden_layers,
            Kind::T5(config) => config.layers,
        }
    }

    /// The width of a token's vector.
    pub(super) fn width(&self) -> usize {
        match &self.kind {
            Kind::Clip { config, .. } => config.hidden_size,
            Kind::T5(config) => config.width,
        }
    }

    /// The width of the vector of a prompt as a whole, if it gives one.
    pub(super) fn pooled_width(&self) -> Option<usize> {
        match &self.kind {
            Kind::Clip { config, projects: true } => Some(config.dimensions),
            Kind::Clip { config, projects: false } => Some(config.hidden_size),
            Kind::T5(_) => None,
        }
    }

    pub(super) fn weight_files(&self) -> Result<WeightFiles, ArchError> {
        Ok(self.folder.weight_files()?)
    }

    pub(super) fn linear_numbers(&self) -> u64 {
        match &self.kind {
            Kind::Clip { config, .. } => config.linear_numbers(),
            Kind::T5(config) => config.linear_numbers(),
        }
    }

    /// What reading one prompt holds at most.
    pub(super) fn pass_bytes(&self, threads: NonZeroUsize) -> ByteSize {
        let numbers = match &self.kind {
            Kind::Clip { config, .. } => config.pass_numbers(self.length, threads),
            Kind::T5(config) => config.pass_numbers(self.length, threads),
        };
        ByteSize::new(numbers).saturating_mul(4)
    }

    pub(super) fn load(&self, precision: Precision) -> Result<Reader, ArchError> {
        let store = WeightStore::open(&self.weight_files()?, DType::F32, &Device::Cpu)?;
        let root = Scope::root(&store, precision);
        let (network, vocabulary, padding) = match &self.kind {
            Kind::Clip { config, projects } => {
                let network = match projects {
                    true => text_tower::Network::load(&root, config)?,
                    false => text_tower::Network::headless(&root, config)?,
                };
                (Network::Clip(network), config.vocab_size, config.end())
            }
            Kind::T5(config) => (Network::T5(T5Encoder::load(&root, config)?), config.vocab_size, 0),
        };
        Ok(Reader { network, tokenizer: self.load_tokenizer(padding)?, vocabulary })
    }

    /// From `tokenizer.json`, or from the two files that CLIP's was published in.
    fn load_tokenizer(&self, padding: u32) -> Result<Tokenizer, ArchError> {
        let folder = &self.tokenizer;
        let (settings, _) = tokenizer_settings(folder, self.length)?;
        let special: SpecialTokens = folder.read_json("special_tokens_map.json")?.unwrap_or_default();
        let settings = settings.with_special(special);
        let tokenizer = match folder.file("tokenizer.json") {
            Some(path) => Tokenizer::load(&path, &settings, self.length)?,
            None => match (folder.file("vocab.json"), folder.file("merges.txt")) {
                (Some(vocabulary), Some(merges)) if self.is_clip() => {
                    Tokenizer::of_clip_files(&vocabulary, &merges, &settings, self.length)?
                }
                _ => return Err(missing(folder, "tokenizer.json")),
            },
        };
        Ok(tokenizer.filling(self.length, &settings, padding))
    }
}

impl Reader {
    /// Reads one prompt, CLIP at this depth.
    pub(super) fn read(
        &self,
        field: &'static str,
        prompt: &str,
        depth: Depth,
        overlong: Overlong,
    ) -> Result<Read, ModelError> {
        let text = self.tokenizer.encode(prompt, overlong).map_err(|error| match error {
            error @ TokenizerError::Overlong { .. } => {
                ModelError::from(InvalidRequest::new(field, error.to_string()))
            }
            other => ModelError::failed(other),
        })?;
        if text.ids.iter().any(|id| *id as usize >= self.vocabulary) {
            return Err(ModelError::failed("the tokenizer gives ids that the text encoder does not know"));
        }
        self.forward(&text, depth).map_err(ModelError::failed)
    }

    fn forward(&self, text: &EncodedText, depth: Depth) -> candle_core::Result<Read> {
        let truncated = text.truncated;
        Ok(match &self.network {
            Network::Clip(network) => {
                let read = network.read(&PackedTexts::new([text]), depth)?;
                Read { tokens: read.tokens, pooled: Some(read.pooled), truncated }
            }
            Network::T5(network) => {
                let tokens = network.forward(std::slice::from_ref(&text.ids))?;
                Read { tokens, pooled: None, truncated }
            }
        })
    }
}
