//! What a model folder's small files say, before any weight is read.

use std::num::NonZeroUsize;

use super::config::{BlipConfig, TextConfig};
use crate::ByteSize;
use crate::arch::bounds::not_supported;
use crate::arch::encoder::layer_numbers;
use crate::arch::vision::patches::fixed_preprocessor;
use crate::arch::vision::refusal::of_image;
use crate::arch::{ArchError, DecoderOptions};
use crate::capability::{
    Capacity, DescribeRequest, GenerateRequest, ImagePlace, ImagePlaces, InvalidRequest, Prompt,
    ResponseFormat,
};
use crate::image::{MAX_DECODING, MAX_ENCODED, Preprocessor, check};
use crate::kernels::{KvFormat, Precision};
use crate::memory::Footprint;
use crate::weights::ModelFolder;

/// Requests that a worker takes at once: each keeps a picture.
const REQUESTS: usize = 8;

/// What each text weighs at least, in tokens, so that a worker has not too many of them under way.
const LEAST_COST: usize = 64;

/// Everything but tokenizer and weights: cheap to read, enough to check requests and to predict memory.
#[derive(Debug)]
pub(crate) struct BlipPlan {
    pub(super) config: BlipConfig,
    pub(super) preprocessor: Preprocessor,
    pub(super) folder: ModelFolder,
    precision: Precision,
    /// How many tokens, of all texts under way, a worker keeps.
    cache_tokens: usize,
    ends: [u32; 1],
}

impl BlipPlan {
    /// Reads and checks a folder's configuration files.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, a model of another use, numbers out of bounds, and options that
    /// only decoders have.
    pub(crate) fn read(folder: &ModelFolder, options: DecoderOptions) -> Result<Self, ArchError> {
        if let Some(to) = options.quantize {
            return Err(not_supported("quantization of BLIP", &to.to_string(), &["none"]));
        }
        if let Some(format) = options.kv_format.filter(|format| *format != KvFormat::F32) {
            return Err(not_supported("format of BLIP's keys and values", &format.to_string(), &["f32"]));
        }
        let config = BlipConfig::read(folder)?;
        let preprocessor = fixed_preprocessor(folder, &config.tower)?;
        let longest = config.text.max_positions;
        let cache_tokens = options.cache_tokens.unwrap_or(REQUESTS * longest).max(longest.max(LEAST_COST));
        let (folder, precision, ends) = (folder.clone(), options.dtype.precision(), [config.text.end]);
        Ok(Self { config, preprocessor, folder, precision, cache_tokens, ends })
    }

    /// How many tokens prompt and answer can have together.
    pub(crate) fn max_tokens(&self) -> usize {
        self.config.text.max_positions
    }

    /// The token that ends an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// What is kept of each token of a text under way.
    pub(crate) fn kv_bytes_per_token(&self) -> ByteSize {
        ByteSize::new(4 * self.config.text.kept_numbers() as u64)
    }

    /// The `model_type` of the network that reads pictures, and the side of its patches.
    pub(crate) fn tower(&self) -> (&'static str, usize) {
        ("blip_vision_model", self.config.tower.patch_size)
    }

    /// Refuses a request that this model could not serve, without tokenizing it and without decoding its picture.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] for all but one picture before a raw prompt, and as other models that write.
    pub(crate) fn check(&self, request: &DescribeRequest) -> Result<(), InvalidRequest> {
        request.validate()?;
        let wrong = |field, reason: String| Err(InvalidRequest::new(field, reason));
        if let Prompt::Chat(_) = request.generate.prompt {
            let reason = "this model captions pictures and knows no conversations: give it the words that the \
                          caption begins with, as a raw prompt, or none";
            return wrong("messages", reason.to_owned());
        }
        let [image] = request.images.as_slice() else {
            return wrong(
                "images",
                format!("there are {}, and this model captions one", request.images.len()),
            );
        };
        let is_first = match &request.places {
            ImagePlaces::First => true,
            ImagePlaces::At(places) => places.as_slice() == [ImagePlace { message: 0, at: 0 }],
            ImagePlaces::Marked => false,
        };
        if !is_first {
            let reason = "this model sees its picture before all text, and nothing in a prompt stands for it";
            return wrong("places", reason.to_owned());
        }
        self.check_answer(&request.generate)?;
        check(image).map_err(|error| of_image(0, &error))
    }

    fn check_answer(&self, request: &GenerateRequest) -> Result<(), InvalidRequest> {
        let wrong = |field, reason: String| Err(InvalidRequest::new(field, reason));
        if request.response_format != ResponseFormat::Text {
            return wrong("response_format", "this model's captions cannot be held to a form".to_owned());
        }
        if request.max_tokens >= self.max_tokens() {
            let reason = format!("prompt and answer have {} tokens at most", self.max_tokens());
            return wrong("max_tokens", reason);
        }
        let weight = self.weight(request);
        if weight > self.cache_tokens {
            let reason = format!(
                "so many answers take {weight} tokens, and a worker keeps {}: ask for fewer, or shorter ones",
                self.cache_tokens
            );
            return wrong("n", reason);
        }
        let vocabulary = self.config.text.vocab_size;
        let biased = request.sampling.logit_bias.keys().map(|id| ("logit_bias", *id));
        let stops = request.stop_token_ids.iter().map(|id| ("stop_token_ids", *id));
        match biased.chain(stops).find(|(_, id)| *id as usize >= vocabulary) {
            Some((field, id)) => wrong(field, format!("there is no token {id}: the model has {vocabulary}")),
            None => Ok(()),
        }
    }

    /// The most tokens that a request's texts have together: no token of a prompt is less than a byte.
    fn weight(&self, request: &GenerateRequest) -> usize {
        let bytes = match &request.prompt {
            Prompt::Raw(text) => text.len(),
            Prompt::Chat(chat) => chat.bytes(),
        };
        let text = bytes.saturating_add(2).saturating_add(request.max_tokens).min(self.max_tokens());
        text.max(LEAST_COST).saturating_mul(request.n)
    }

    /// What a request weighs: the tokens that its texts can have.
    pub(crate) fn cost(&self, request: &DescribeRequest) -> u64 {
        self.weight(&request.generate) as u64
    }

    pub(crate) fn capacity(&self) -> Capacity {
        Capacity { jobs: REQUESTS as u32, cost: self.cache_tokens as u64 }
    }

    /// How many tokens, of all texts under way, a worker keeps.
    pub(super) fn cache_tokens(&self) -> usize {
        self.cache_tokens
    }

    /// What loading takes: all tensors as they are kept; and for each worker of so many threads the keys and values of
    /// texts and pictures, and its largest step, with a picture being decoded and read.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are no weight files or their headers are unreadable.
    pub(crate) fn footprint(&self, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
        let files = self.folder.weight_files()?;
        let tied = self.config.text.tied;
        let repeated = |name: &str| tied && name.ends_with("predictions.decoder.weight");
        let is_table = |name: &str| name.contains("position") || (!tied && name.contains("word_embeddings"));
        let kept = files.tensors().filter(|tensor| !repeated(&tensor.name)).map(|tensor| {
            let is_layer = tensor.shape.len() > 1 && !is_table(&tensor.name);
            let bytes = if is_layer { self.precision.bytes() as u64 } else { 4 };
            (tensor.elements() as u64).saturating_mul(bytes)
        });
        let weights = ByteSize::new(kept.fold(0, u64::saturating_add));
        let numbers = self.kept_numbers().saturating_add(self.step_numbers(threads));
        let decoding = MAX_DECODING + MAX_ENCODED;
        let per_worker = ByteSize::new(numbers.saturating_mul(4).saturating_add(decoding));
        Ok(Footprint { weights, per_worker })
    }

    /// How many numbers are kept of texts and pictures, at most.
    fn kept_numbers(&self) -> u64 {
        let rows = self.cache_tokens.saturating_add(REQUESTS * self.config.picture_rows());
        (rows as u64).saturating_mul(self.config.text.kept_numbers() as u64)
    }

    /// How many numbers the larger of a picture's pass and a step of all texts holds at once.
    fn step_numbers(&self, threads: NonZeroUsize) -> u64 {
        let (rows, TextConfig { hidden_size, vocab_size, max_positions, intermediate_size, .. }) =
            (self.config.picture_rows(), &self.config.text);
        let picture = self.config.tower.pass_numbers(rows, rows, threads);
        let texts = self.cache_tokens / LEAST_COST;
        let heads = (self.config.text.num_attention_heads, self.config.text.head_size());
        let (tokens, longest) = (texts.max(*max_positions), rows.max(*max_positions));
        let layer = layer_numbers(tokens, longest, heads, *intermediate_size, threads);
        // All texts' keys and values in one layer, and logits as they come and as they are looked through.
        let beside = (self.cache_tokens as u64).saturating_mul(2 * *hidden_size as u64);
        let logits = (texts as u64).saturating_mul(2 * *vocab_size as u64);
        picture.max(layer.saturating_add(beside).saturating_add(logits))
    }
}
