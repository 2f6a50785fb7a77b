//! What a model folder's small files say, before any weight is read.

use std::num::NonZeroUsize;

use super::config::{BlipConfig, TextConfig};
use crate::ByteSize;
use crate::arch::answer::check_answer;
use crate::arch::bounds::not_supported;
use crate::arch::encoder::layer_numbers;
use crate::arch::vision::patches::fixed_preprocessor;
use crate::arch::vision::refusal::of_image;
use crate::arch::{ArchError, DecoderOptions};
use crate::capability::{
    Capacity, DescribeRequest, GenerateRequest, ImagePlace, ImagePlaces, ImageSource, InvalidRequest, Prompt,
    ResponseFormat,
};
use crate::image::{MAX_DECODING, MAX_ENCODED, Preprocessor, check};
use crate::kernels::{BLOCK_TOKENS, KvFormat, Precision};
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
    /// How many blocks of tokens, of all texts under way, a worker keeps.
    blocks: usize,
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
        let wanted = options.cache_tokens.unwrap_or(REQUESTS * longest);
        let blocks = wanted.max(longest.max(LEAST_COST)).div_ceil(BLOCK_TOKENS);
        let (folder, precision) = (folder.clone(), options.dtype.precision());
        Ok(Self { config, preprocessor, folder, precision, blocks })
    }

    /// How many tokens prompt and answer can have together.
    pub(crate) fn max_tokens(&self) -> usize {
        self.config.text.max_positions
    }

    /// The token that ends an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        std::slice::from_ref(&self.config.text.end)
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
        self.asked(request).map(drop)
    }

    /// The picture of a request, and what its caption begins with.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub(super) fn asked<'a>(
        &self,
        request: &'a DescribeRequest,
    ) -> Result<(&'a ImageSource, &'a str), InvalidRequest> {
        request.validate()?;
        let wrong = |field, reason: String| Err(InvalidRequest::new(field, reason));
        let Prompt::Raw(beginning) = &request.generate.prompt else {
            let reason = "this model captions pictures and knows no conversations: give it the words that the \
                          caption begins with, as a raw prompt, or none";
            return wrong("messages", reason.to_owned());
        };
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
        if request.generate.response_format != ResponseFormat::Text {
            return wrong("response_format", "this model's captions cannot be held to a form".to_owned());
        }
        check_answer(&request.generate, self.config.text.vocab_size, self.max_tokens())?;
        self.has_room(self.weight(&request.generate))?;
        check(image).map_err(|error| of_image(0, &error))?;
        Ok((image, beginning))
    }

    /// Refuses texts that have more tokens together than a worker keeps.
    pub(super) fn has_room(&self, tokens: usize) -> Result<(), InvalidRequest> {
        let all = self.cache_tokens();
        if tokens <= all {
            return Ok(());
        }
        let reason = format!(
            "so many answers take {tokens} tokens, and a worker keeps {all}: ask for fewer, or shorter ones"
        );
        Err(InvalidRequest::new("n", reason))
    }

    /// The most tokens that a request's texts have room for together, in whole blocks: no token of most prompts is
    /// less than a byte.
    fn weight(&self, request: &GenerateRequest) -> usize {
        let bytes = request.prompt.bytes();
        let text = bytes.saturating_add(2).saturating_add(request.max_tokens).min(self.max_tokens());
        text.max(LEAST_COST).next_multiple_of(BLOCK_TOKENS).saturating_mul(request.n)
    }

    /// What a request weighs: the tokens that its texts can have.
    pub(crate) fn cost(&self, request: &DescribeRequest) -> u64 {
        self.weight(&request.generate) as u64
    }

    pub(crate) fn capacity(&self) -> Capacity {
        Capacity { jobs: REQUESTS as u32, cost: self.cache_tokens() as u64 }
    }

    /// How many blocks of tokens, of all texts under way, a worker keeps.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// How many tokens those are.
    fn cache_tokens(&self) -> usize {
        self.blocks.saturating_mul(BLOCK_TOKENS)
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
        let rows = self.cache_tokens().saturating_add(REQUESTS * self.config.picture_rows());
        (rows as u64).saturating_mul(self.config.text.kept_numbers() as u64)
    }

    /// How many numbers the larger of a picture's pass and a step of all texts holds at once.
    fn step_numbers(&self, threads: NonZeroUsize) -> u64 {
        let (rows, TextConfig { vocab_size, max_positions, intermediate_size, .. }) =
            (self.config.picture_rows(), &self.config.text);
        let picture = self.config.tower.pass_numbers(rows, rows, threads);
        let texts = self.cache_tokens() / LEAST_COST;
        let heads = (self.config.text.num_attention_heads, self.config.text.head_size());
        // A prompt is read whole; after it a text has a token to read, and some of its prompt if another read that.
        let tokens = texts.saturating_mul(BLOCK_TOKENS).saturating_add(*max_positions);
        let layer = layer_numbers(tokens, rows.max(*max_positions), heads, *intermediate_size, threads);
        // As they come and as they are looked through.
        let logits = (texts as u64).saturating_mul(2 * *vocab_size as u64);
        picture.max(layer.saturating_add(logits))
    }
}
