//! What there is to say of a decoder before anything is loaded.

use std::collections::BTreeMap;

use super::config::DecoderConfig;
use super::network::KvCache;
use super::plan::{DecoderOptions, DecoderPlan};
use super::weight_format::WeightFormat;
use super::{gguf, tensors};
use crate::ByteSize;
use crate::arch::ArchError;
use crate::kernels::{BLOCK_TOKENS, KvFormat};
use crate::weights::ModelFiles;
use crate::weights::gguf::GgmlType;

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
        let kept = most_kept(&self.forms.files, format);
        kept.map_or_else(|| format.in_words(), |stored| stored.to_string().to_ascii_lowercase())
    }

    /// The bytes of the tensors that `own` knows by their names, as they will be kept.
    pub(super) fn weights_bytes(&self, own: impl Fn(&str) -> bool) -> Result<ByteSize, ArchError> {
        let format = WeightFormat::of(self.options);
        Ok(match &self.forms.files {
            ModelFiles::Folder(folder) => {
                let files = folder.weight_files()?;
                let own = files.tensors().filter(|tensor| own(&tensor.name));
                own.map(|tensor| tensors::kept_bytes(tensor, &self.config, format)).sum()
            }
            ModelFiles::Gguf(file) => {
                let own = file.tensors().filter(|tensor| own(&tensor.name));
                own.map(|tensor| gguf::kept_bytes(tensor, file, &self.config, format)).sum()
            }
        })
    }

    /// Whether conversations can be put into words: there is a chat template. It may yet turn out to be one that
    /// cannot be used.
    pub fn has_chat_template(&self) -> bool {
        self.chat.has_template(self.template.as_deref())
    }

    /// Whether that template has a word for tools.
    pub fn knows_tools(&self) -> bool {
        self.chat.mentions_tools(self.template.as_deref())
    }

    /// Tokens that end an answer, by the files. Empty where only the tokenizer knows.
    pub fn ending_tokens(&self) -> &[u32] {
        &self.forms.ends
    }

    /// What a worker's cache keeps of each token.
    pub fn kv_bytes_per_token(&self) -> ByteSize {
        ByteSize::new(KvCache::bytes(&self.config, 1, self.kv_format()) / BLOCK_TOKENS as u64)
    }

    /// What keys and values are kept as.
    pub fn kv_format(&self) -> KvFormat {
        kv_format(&self.forms.files, &self.config, self.options)
    }
}

/// The format that most numbers have, if those stay as they are in the file.
fn most_kept(files: &ModelFiles, format: WeightFormat) -> Option<GgmlType> {
    let ModelFiles::Gguf(file) = files else { return None };
    let mut numbers = BTreeMap::<Option<GgmlType>, u64>::new();
    for tensor in file.tensors() {
        let stays = format.kept(tensor.stored).map(|_| tensor.stored);
        *numbers.entry(stays).or_default() += tensor.elements() as u64;
    }
    numbers.into_iter().max_by_key(|(_, numbers)| *numbers).and_then(|(stored, _)| stored)
}

/// What keys and values are kept as: as is asked for, else no finer than the weights' rounding warrants.
pub(super) fn kv_format(files: &ModelFiles, config: &DecoderConfig, options: DecoderOptions) -> KvFormat {
    let format = WeightFormat::of(options);
    let beside = || beside(most_kept(files, format).or_else(|| format.becomes(config.hidden_size)));
    options.kv_format.unwrap_or_else(beside)
}

fn beside(quantized: Option<GgmlType>) -> KvFormat {
    match quantized {
        Some(GgmlType::Q4K | GgmlType::Q5K | GgmlType::Q6K) => KvFormat::F16,
        _ => KvFormat::F32,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernels::Dtype;
    use crate::weights::GgufFile;
    use crate::weights::gguf::Quantization;

    #[test]
    fn what_most_numbers_are_stored_as_decides() {
        let most_kept = |name: &str, options| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoder").join(name);
            most_kept(&ModelFiles::Gguf(GgufFile::open(path).unwrap()), WeightFormat::of(options))
        };
        let mut options = DecoderOptions::default();
        assert_eq!(most_kept("llama3-q4_0.gguf", options), Some(GgmlType::Q4_0));
        assert_eq!(most_kept("llama3-bf16.gguf", options), None);
        options.dtype = Dtype::F32;
        assert_eq!(most_kept("llama3-q4_0.gguf", options), None);
    }

    #[test]
    fn keys_and_values_are_kept_no_finer_than_weights_warrant() {
        let mut options = DecoderOptions::default();
        let becomes = |options, width| beside(WeightFormat::of(options).becomes(width));
        assert_eq!(becomes(options, 512), KvFormat::F32);
        options.quantize = Some(Quantization::Q4K);
        // Rows of 64 are kept in 8 bits.
        assert_eq!((becomes(options, 512), becomes(options, 64)), (KvFormat::F16, KvFormat::F32));
        options.quantize = Some(Quantization::Q8_0);
        assert_eq!(becomes(options, 512), KvFormat::F32);
    }
}
