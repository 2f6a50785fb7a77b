//! What there is to say of a decoder before anything is loaded.

use super::network::KvCache;
use super::plan::DecoderPlan;
use crate::ByteSize;
use crate::kernels::BLOCK_TOKENS;

impl DecoderPlan {
    /// The family that it belongs to, by the `model_type` in `config.json`.
    pub fn family(&self) -> &'static str {
        self.config.family.model_type()
    }

    /// How many tokens of a text the model reads.
    pub fn context_length(&self) -> usize {
        self.config.context
    }

    /// What the linear layers are kept in unless the file has them quantized, `f32` or `bf16`; sums are f32 in
    /// any case.
    pub fn computes_in(&self) -> String {
        self.dtype.precision().to_string()
    }

    /// Whether conversations can be put into words: there is a chat template. It may yet turn out to be one that
    /// cannot be used.
    pub fn has_chat_template(&self) -> bool {
        self.chat.has_template(self.template.as_deref())
    }

    /// Tokens that end an answer, by the files. Empty where only the tokenizer knows.
    pub fn ending_tokens(&self) -> &[u32] {
        &self.forms.ends
    }

    /// What a worker's cache keeps of each token.
    pub fn kv_bytes_per_token(&self) -> ByteSize {
        ByteSize::new(KvCache::bytes(&self.config, 1) / BLOCK_TOKENS as u64)
    }
}
