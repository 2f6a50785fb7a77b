//! What a model folder's small files say, whichever way the model sees.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::blip::BlipPlan;
use super::inlaid::InlaidPlan;
use crate::ByteSize;
use crate::arch::{ArchError, Architecture, DecoderOptions, read_required};
use crate::capability::{DescribeRequest, InvalidRequest};
use crate::kernels::KvFormat;
use crate::memory::Footprint;
use crate::weights::ModelFolder;

/// Everything but tokenizer and weights: cheap to read and to clone, enough to check requests and to predict memory.
#[derive(Clone, Debug)]
pub struct VisionPlan {
    architecture: Architecture,
    pub(super) way: Way,
}

/// How the model sees.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Inlaid(Arc<InlaidPlan>),
    Blip(Arc<BlipPlan>),
}

/// The architectures that see and write.
pub(crate) fn is_vision(architecture: Architecture) -> bool {
    matches!(
        architecture,
        Architecture::Llava
            | Architecture::Idefics3
            | Architecture::SmolVlm
            | Architecture::Qwen2Vl
            | Architecture::Qwen2_5Vl
            | Architecture::PaliGemma
            | Architecture::Blip
    )
}

/// Whether a folder of Gemma 3 has the part that reads pictures, too.
pub(crate) fn gemma_sees(folder: &ModelFolder) -> Result<bool, ArchError> {
    let config: serde_json::Value = read_required(folder, "config.json")?;
    Ok(config["vision_config"].is_object())
}

/// By their `model_type`.
pub(super) const FAMILIES: [&str; 8] =
    ["llava", "idefics3", "smolvlm", "qwen2_vl", "qwen2_5_vl", "gemma3", "paligemma", "blip"];

impl VisionPlan {
    /// Reads and checks a folder's configuration files.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, an architecture or preprocessing that is not implemented, and
    /// numbers out of bounds.
    pub fn read(folder: &ModelFolder, options: DecoderOptions) -> Result<Self, ArchError> {
        let architecture = Architecture::of(folder)?;
        let way = match architecture {
            Architecture::Blip => Way::Blip(Arc::new(BlipPlan::read(folder, options)?)),
            other => Way::Inlaid(Arc::new(InlaidPlan::read(folder, other, options)?)),
        };
        Ok(Self { architecture, way })
    }

    /// What the model is.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The text that stands for a picture in this model's prompts, if any does. Reads the tokenizer.
    ///
    /// # Errors
    ///
    /// [`ArchError`] if the tokenizer cannot be read, or does not know it.
    pub fn placeholder(&self) -> Result<Option<String>, ArchError> {
        match &self.way {
            Way::Inlaid(plan) => plan.placeholder().map(Some),
            Way::Blip(_) => Ok(None),
        }
    }

    /// Whether conversations can be put into words.
    pub fn has_chat_template(&self) -> bool {
        match &self.way {
            Way::Inlaid(plan) => plan.decoder().has_chat_template(),
            Way::Blip(_) => false,
        }
    }

    /// Whether those may have tools.
    pub fn knows_tools(&self) -> bool {
        match &self.way {
            Way::Inlaid(plan) => plan.decoder().knows_tools(),
            Way::Blip(_) => false,
        }
    }

    /// The tokens that end an answer, as far as the configuration says.
    pub fn ending_tokens(&self) -> &[u32] {
        match &self.way {
            Way::Inlaid(plan) => plan.decoder().ending_tokens(),
            Way::Blip(plan) => plan.ends(),
        }
    }

    /// What weights are kept in.
    pub fn computes_in(&self) -> String {
        match &self.way {
            Way::Inlaid(plan) => plan.decoder().computes_in(),
            Way::Blip(plan) => plan.precision().to_string(),
        }
    }

    /// How many tokens of text the model reads.
    pub fn context_length(&self) -> usize {
        match &self.way {
            Way::Inlaid(plan) => plan.decoder().context_length(),
            Way::Blip(plan) => plan.max_tokens(),
        }
    }

    /// How many tokens prompt and answer can have together.
    pub fn max_tokens(&self) -> usize {
        match &self.way {
            Way::Inlaid(plan) => plan.decoder().max_tokens(),
            Way::Blip(plan) => plan.max_tokens(),
        }
    }

    /// What is kept of each token of a text under way.
    pub fn kv_bytes_per_token(&self) -> ByteSize {
        match &self.way {
            Way::Inlaid(plan) => plan.decoder().kv_bytes_per_token(),
            Way::Blip(plan) => plan.kv_bytes_per_token(),
        }
    }

    /// What it is kept as.
    pub fn kv_format(&self) -> KvFormat {
        match &self.way {
            Way::Inlaid(plan) => plan.decoder().kv_format(),
            Way::Blip(_) => KvFormat::F32,
        }
    }

    /// The `model_type` of the network that reads pictures, and how many pixels a side of its patches has.
    pub fn tower(&self) -> (&'static str, usize) {
        match &self.way {
            Way::Inlaid(plan) => plan.tower(),
            Way::Blip(plan) => plan.tower(),
        }
    }

    /// How many tokens most pictures take of those that the model reads: none where it looks at them beside its text.
    pub fn tokens_per_image(&self) -> usize {
        match &self.way {
            Way::Inlaid(plan) => plan.tokens_per_image(),
            Way::Blip(_) => 0,
        }
    }

    /// Refuses a request that this model could not serve, as far as can be told without tokenizing it and without
    /// decoding pictures.
    ///
    /// # Errors
    ///
    /// As [`DecoderPlan::validate`](crate::arch::DecoderPlan::validate), and for what is no picture, more pictures
    /// than there is room for, and what the model has no use for.
    pub fn validate(&self, request: &DescribeRequest) -> Result<(), InvalidRequest> {
        match &self.way {
            Way::Inlaid(plan) => plan.validate(request),
            Way::Blip(plan) => plan.check(request),
        }
    }

    /// What a request weighs: about the tokens of its prompt and of its answers, with those that pictures take.
    pub fn cost(&self, request: &DescribeRequest) -> u64 {
        match &self.way {
            Way::Inlaid(plan) => plan.cost(request),
            Way::Blip(plan) => plan.cost(request),
        }
    }

    /// What loading takes: all tensors as they are kept; and for each worker of so many threads what it keeps of texts
    /// and pictures, and its largest step, with a picture being decoded and read.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are no weight files or their headers are unreadable.
    pub fn footprint(&self, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
        match &self.way {
            Way::Inlaid(plan) => plan.footprint(threads),
            Way::Blip(plan) => plan.footprint(threads),
        }
    }
}
