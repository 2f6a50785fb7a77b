//! What there is to say of a decoder before anything is loaded.

use std::collections::BTreeMap;

use super::network::KvCache;
use super::plan::DecoderPlan;
use super::weight_format::WeightFormat;
use super::{gguf, tensors};
use crate::ByteSize;
use crate::arch::ArchError;
use crate::kernels::BLOCK_TOKENS;
use crate::weights::ModelFiles;

impl DecoderPlan {
    /// The family that it belongs to, by the `model_type` in `config.json`.
    pub fn family(&self) -> &'static str {
        self.config.family.model_type()
    }

    /// How many tokens of a text the model reads.
    pub fn context_length(&self) -> usize {
        self.config.context
    }

    /// What most of the weights are kept in: `f32`, `bf16`, `q8_0` or `q4_k`, or the format of a GGUF file whose
    /// weights stay as they are. Sums are f32 in any case.
    pub fn computes_in(&self) -> String {
        let format = WeightFormat::of(self.options);
        let mut kept = BTreeMap::<String, u64>::new();
        if let ModelFiles::Gguf(file) = &self.forms.files {
            for tensor in file.tensors().filter(|tensor| format.kept(tensor.stored).is_some()) {
                *kept.entry(tensor.stored.to_string()).or_default() += tensor.bytes().bytes();
            }
        }
        let most = kept.into_iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or_else(|| format.in_words(), |(stored, _)| stored.to_ascii_lowercase())
    }

    /// The bytes of all tensors that the network has, as they will be kept.
    pub(super) fn weights_bytes(&self) -> Result<ByteSize, ArchError> {
        let format = WeightFormat::of(self.options);
        Ok(match &self.forms.files {
            ModelFiles::Folder(folder) => {
                let files = folder.weight_files()?;
                files.tensors().map(|tensor| tensors::kept_bytes(tensor, &self.config, format)).sum()
            }
            ModelFiles::Gguf(file) => {
                file.tensors().map(|tensor| gguf::kept_bytes(tensor, file, &self.config, format)).sum()
            }
        })
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
