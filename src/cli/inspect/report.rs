//! What there is to say of a model.

use serde::Serialize;

use super::tensors::Stored;
use crate::arch::{DecoderPlan, DiffusionPlan, EmbeddingPlan, ImagePlan, VisionPlan};
use crate::cli::failure::Failure;
use crate::cli::model::ModelArgs;
use crate::cli::output::{Output, counted};
use crate::engine::Capabilities;
use crate::id::ByteSize;
use crate::memory::Footprint;
use crate::weights::WeightFiles;

/// What `--json` prints.
#[derive(Serialize)]
pub(in crate::cli) struct Report {
    model: String,
    /// That which the rest is about.
    capability: String,
    /// It, and what the same files can do besides.
    capabilities: Vec<String>,
    architecture: &'static str,
    /// Of most of the stored bytes.
    dtype: String,
    computes_in: String,
    tensors: usize,
    parameters: u64,
    bytes_on_disk: ByteSize,
    #[serde(flatten)]
    skills: Skills,
    footprint: Predicted,
    fits: bool,
    /// Why it fits, or why not.
    reason: String,
}

/// What depends on what the model does.
#[derive(Serialize)]
#[serde(untagged)]
enum Skills {
    Embeds {
        dimensions: usize,
        max_tokens: usize,
        prompts: Vec<String>,
    },
    Sees {
        dimensions: usize,
        /// Rows and columns of every picture as the network reads it; none if it reads any.
        reads: Option<(usize, usize)>,
        patch_size: usize,
        normalizes: bool,
    },
    Draws {
        /// The parts of the pipeline that have weights, with what they take on disk.
        parts: Vec<(&'static str, ByteSize)>,
        /// Width and height in pixels, where a request does not say; and so on.
        default_size: (u32, u32),
        default_steps: u32,
        default_guidance: f32,
        side_multiple: u32,
        max_pixels: u64,
    },
    Writes(Writes),
    Describes {
        #[serde(flatten)]
        writes: Writes,
        /// What reads pictures.
        vision_tower: &'static str,
        patch_size: usize,
        /// Of most pictures.
        tokens_per_image: usize,
    },
}

/// What a decoder says of itself.
#[derive(Serialize)]
struct Writes {
    /// What the model reads.
    context_length: usize,
    /// Of prompt and answer together: the same, or what a worker's cache holds if that is less.
    max_tokens: usize,
    kv_bytes_per_token: ByteSize,
    kv_format: String,
    chat_template: bool,
}

impl Writes {
    fn of(plan: &DecoderPlan) -> Self {
        Self {
            context_length: plan.context_length(),
            max_tokens: plan.max_tokens(),
            kv_bytes_per_token: plan.kv_bytes_per_token(),
            kv_format: plan.kv_format().to_string(),
            chat_template: plan.has_chat_template(),
        }
    }

    fn of_seer(plan: &VisionPlan) -> Self {
        Self {
            context_length: plan.context_length(),
            max_tokens: plan.max_tokens(),
            kv_bytes_per_token: plan.kv_bytes_per_token(),
            kv_format: plan.kv_format().to_string(),
            chat_template: plan.has_chat_template(),
        }
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let Self { context_length, max_tokens, kv_bytes_per_token, kv_format, chat_template } = self;
        let cache = format!("{kv_bytes_per_token} for each token of a text under way, in {kv_format}");
        vec![
            ("context", format!("{context_length} tokens")),
            ("serves", format!("at most {max_tokens} tokens of prompt and answer together")),
            ("cache", cache),
            ("chat", if *chat_template { "by its own template" } else { "no template" }.to_owned()),
        ]
    }
}

/// The memory it would take.
#[derive(Serialize)]
struct Predicted {
    weights: ByteSize,
    per_worker: ByteSize,
    workers: usize,
    /// Of each worker.
    threads: usize,
    total: ByteSize,
}

/// A model that embeds.
pub(super) fn of_embedder(
    args: &ModelArgs,
    label: &str,
    plan: &EmbeddingPlan,
    stored: &Stored,
) -> Result<Report, Failure> {
    let skills = Skills::Embeds {
        dimensions: plan.dimensions(),
        max_tokens: plan.max_tokens(),
        prompts: plan.prompt_names().map(str::to_owned).collect(),
    };
    let model = Model {
        label,
        does: Capabilities::TextEmbedding,
        architecture: plan.config().architecture().model_type(),
        computes_in: plan.computes_in(),
    };
    let footprint = plan.footprint(args.threads(Capabilities::TextEmbedding)).map_err(crate::Error::from)?;
    Ok(Report::new(args, model, skills, footprint, stored))
}

/// A model that embeds pictures.
pub(super) fn of_image_embedder(
    args: &ModelArgs,
    label: &str,
    plan: &ImagePlan,
    stored: &Stored,
) -> Result<Report, Failure> {
    let skills = Skills::Sees {
        dimensions: plan.dimensions(),
        reads: plan.reads(),
        patch_size: plan.config().patch_size,
        normalizes: plan.normalizes(),
    };
    let does = Capabilities::ImageEmbedding;
    let architecture = plan.config().architecture.model_type();
    let model = Model { label, does, architecture, computes_in: plan.computes_in() };
    let footprint = plan.footprint(args.threads(does)).map_err(crate::Error::from)?;
    Ok(Report::new(args, model, skills, footprint, stored))
}

/// A model that draws, its weights by parts and all together.
pub(super) fn of_drawer(
    args: &ModelArgs,
    label: &str,
    plan: &DiffusionPlan,
    (parts, stored): (&[(&'static str, WeightFiles)], &Stored),
) -> Result<Report, Failure> {
    let skills = Skills::Draws {
        parts: parts.iter().map(|(part, files)| (*part, files.bytes_on_disk())).collect(),
        default_size: plan.default_size(),
        default_steps: plan.default_steps(),
        default_guidance: plan.default_guidance(),
        side_multiple: plan.side_multiple(),
        max_pixels: plan.max_pixels(),
    };
    let does = Capabilities::TextToImage;
    let model = Model { label, does, architecture: plan.family(), computes_in: plan.computes_in() };
    let footprint = plan.footprint(args.threads(does)).map_err(crate::Error::from)?;
    Ok(Report::new(args, model, skills, footprint, stored))
}

/// A model that writes.
pub(super) fn of_decoder(
    args: &ModelArgs,
    label: &str,
    plan: &DecoderPlan,
    stored: &Stored,
) -> Result<Report, Failure> {
    let skills = Skills::Writes(Writes::of(plan));
    let model = Model {
        label,
        does: Capabilities::TextToText,
        architecture: plan.family(),
        computes_in: plan.computes_in(),
    };
    let footprint = plan.footprint(args.threads(Capabilities::TextToText)).map_err(crate::Error::from)?;
    Ok(Report::new(args, model, skills, footprint, stored))
}

/// A model that sees and writes.
pub(super) fn of_seer(
    args: &ModelArgs,
    label: &str,
    plan: &VisionPlan,
    stored: &Stored,
) -> Result<Report, Failure> {
    let (vision_tower, patch_size) = plan.tower();
    let writes = Writes::of_seer(plan);
    let tokens_per_image = plan.tokens_per_image();
    let skills = Skills::Describes { writes, vision_tower, patch_size, tokens_per_image };
    let does = Capabilities::Vision;
    let (architecture, computes_in) = (plan.architecture().model_type(), plan.computes_in());
    let model = Model { label, does, architecture, computes_in };
    let footprint = plan.footprint(args.threads(does)).map_err(crate::Error::from)?;
    Ok(Report::new(args, model, skills, footprint, stored))
}

/// What every model is.
struct Model<'a> {
    label: &'a str,
    does: Capabilities,
    architecture: &'static str,
    computes_in: String,
}

impl Report {
    fn new(
        args: &ModelArgs,
        model: Model<'_>,
        skills: Skills,
        footprint: Footprint,
        stored: &Stored,
    ) -> Self {
        let (workers, threads) = (args.config(model.does).initial_workers, args.threads(model.does).get());
        let (fits, reason) = verdict(args, footprint, workers as u64);
        let Footprint { weights, per_worker } = footprint;
        let total = footprint.with_workers(workers as u64);
        Self {
            model: model.label.to_owned(),
            capability: model.does.to_string(),
            capabilities: vec![model.does.to_string()],
            architecture: model.architecture,
            dtype: stored.dtype(),
            computes_in: model.computes_in,
            tensors: stored.count(),
            parameters: stored.parameters(),
            bytes_on_disk: stored.bytes_on_disk,
            skills,
            footprint: Predicted { weights, per_worker, workers, threads, total },
            fits,
            reason,
        }
    }

    /// The same of a model that can do something else as well.
    pub(super) fn besides(mut self, other: Option<Capabilities>) -> Self {
        self.capabilities.extend(other.map(|other| other.to_string()));
        self
    }

    pub(in crate::cli) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        let Predicted { weights, per_worker, workers, threads, total } = &self.footprint;
        let before = [
            ("model", self.model.clone()),
            ("capability", self.capability.clone()),
            ("architecture", self.architecture.to_owned()),
            ("dtype", format!("{} on disk, kept in {}", self.dtype, self.computes_in)),
            ("tensors", format!("{}, with {} numbers", self.tensors, self.parameters)),
            ("on disk", self.bytes_on_disk.to_string()),
        ];
        let after = [
            ("weights", format!("{weights} in memory, once")),
            ("per worker", format!("{per_worker}, on {}", counted(*threads, "thread"))),
            ("footprint", format!("{total} with {}", counted(*workers, "worker"))),
            ("fits", format!("{}: {}", if self.fits { "yes" } else { "no" }, self.reason)),
        ];
        let besides = self.capabilities.get(1).map(|other| ("besides", other.clone()));
        let mut lines = before.into_iter().chain(besides).chain(self.skills.lines()).chain(after);
        lines.try_for_each(|(name, value)| output.line(format_args!("{name:<13} {value}")))
    }
}

impl Skills {
    fn lines(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Embeds { dimensions, max_tokens, prompts } => {
                let prompts = if prompts.is_empty() { "none".to_owned() } else { prompts.join(", ") };
                vec![
                    ("embeddings", format!("{dimensions} numbers each")),
                    ("reads", format!("at most {max_tokens} tokens of a text")),
                    ("prompts", prompts),
                ]
            }
            Self::Sees { dimensions, reads, patch_size, normalizes } => {
                let patches = format!("patches of {patch_size} x {patch_size}");
                let reads = match reads {
                    Some((height, width)) => format!("pictures as {width} x {height} pixels, in {patches}"),
                    None => format!("pictures of any size, in {patches}"),
                };
                let length = if *normalizes { "1" } else { "as the network gives it" };
                vec![
                    ("embeddings", format!("{dimensions} numbers each")),
                    ("reads", reads),
                    ("length", length.to_owned()),
                ]
            }
            Self::Draws {
                parts,
                default_size: (width, height),
                default_steps,
                default_guidance,
                side_multiple,
                max_pixels,
            } => {
                let parts: Vec<String> =
                    parts.iter().map(|(part, bytes)| format!("{part} ({bytes})")).collect();
                vec![
                    ("parts", parts.join(", ")),
                    (
                        "draws",
                        format!("{width} x {height} pixels in {default_steps} steps, unless it is told"),
                    ),
                    ("guidance", format!("{default_guidance}, unless it is told")),
                    ("sizes", format!("sides in multiples of {side_multiple}, at most {max_pixels} pixels")),
                ]
            }
            Self::Writes(writes) => writes.lines(),
            Self::Describes { writes, vision_tower, patch_size, tokens_per_image } => {
                let reads =
                    format!("pictures with {vision_tower}, in patches of {patch_size} x {patch_size}");
                let each = match tokens_per_image {
                    0 => "beside the text".to_owned(),
                    tokens => format!("about {tokens} tokens each"),
                };
                let mut lines = vec![("reads", reads), ("pictures", each)];
                lines.extend(writes.lines());
                lines
            }
        }
    }
}

/// As the pool would decide: all the workers, or else the one that a cold start cannot do without.
fn verdict(args: &ModelArgs, footprint: Footprint, workers: u64) -> (bool, String) {
    let budget = args.budget();
    let limit = budget.limit();
    match (budget.would_fit(footprint.with_workers(workers)), budget.would_fit(footprint.with_workers(1))) {
        (Ok(()), _) => {
            let free = budget.status().free;
            (true, format!("{} of {free} that are free", footprint.with_workers(workers)))
        }
        (Err(_), Ok(())) => {
            let one = footprint.with_workers(1);
            (true, format!("with 1 worker, which takes {one}; {workers} would take more than {limit}"))
        }
        (_, Err(over)) => (false, over.to_string()),
    }
}
