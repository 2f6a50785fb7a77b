//! Byte-level BPE, as GPT-2 has it: `tokenizer.ggml.model` is `gpt2`.
//!
//! A text is split by patterns, each piece is written in an alphabet of 256 letters for the 256 bytes, and
//! letters are joined by the merges in their order. The patterns are not in the file, only what they are
//! called; the names are those of llama.cpp's converter, the patterns those of the models' own `tokenizer.json`.

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use super::Built;
use super::flaw::VocabularyFlaw;
use super::vocabulary::Vocabulary;
use crate::weights::gguf::metadata::{Metadata, Texts, brief};

/// The most merges accepted; the largest vocabularies in use have 580,000.
const MAX_MERGES: usize = 1 << 21;

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Every digit by itself.
const DIGIT: &str = r"\p{N}";

/// How texts are treated before their pieces become tokens.
struct Scheme {
    /// Applied one after the other, each to the pieces that the one before left.
    splits: &'static [&'static str],
    /// Whether letters and their accents are joined first.
    composes: bool,
    /// Whether a piece that is a token is that token, whatever the merges say.
    whole_pieces: bool,
    /// Whether texts begin with the token for that, where the file does not say.
    adds_bos: bool,
}

impl Scheme {
    const fn of(splits: &'static [&'static str]) -> Self {
        Self { splits, composes: false, whole_pieces: false, adds_bos: false }
    }

    const fn composed(splits: &'static [&'static str]) -> Self {
        Self { composes: true, ..Self::of(splits) }
    }

    const fn whole(splits: &'static [&'static str]) -> Self {
        Self { whole_pieces: true, adds_bos: true, ..Self::of(splits) }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            // Files from before the names: what llama.cpp makes of them.
            "default" => Self::of(&[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"]),
            "gpt-2" | "phi-2" | "exaone4" => Self::of(&[GPT_2]),
            "olmo" | "mpt" | "modern-bert" => Self::composed(&[GPT_2]),
            "smollm" | "starcoder" | "refact" => Self::of(&[DIGIT, GPT_2]),
            "command-r" => Self::composed(&[DIGIT, GPT_2]),
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "pixtral" | "lfm2" => Self::whole(&[LLAMA_3]),
            // "dbrx" is what Phi-4 and OLMo 2 are called, too.
            "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => Self::of(&[LLAMA_3]),
            "qwen2" | "megrez" => Self::composed(&[QWEN_2]),
            "deepseek-r1-qwen" => Self::of(&[QWEN_2]),
            "qwen35" => Self::composed(&[QWEN_3_5]),
            "tekken" => Self::whole(&[TEKKEN]),
            "gpt-4o" | "llama4" => Self::of(&[GPT_4O]),
            _ => return None,
        })
    }
}

pub(super) fn build(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Built, VocabularyFlaw> {
    let name = metadata.get::<&str>("tokenizer.ggml.pre")?.unwrap_or("default");
    let unknown = || VocabularyFlaw::UnknownSplit { name: brief(name) };
    let scheme = Scheme::named(name).ok_or_else(unknown)?;
    let merges = merges(metadata.require("tokenizer.ggml.merges")?, vocabulary)?;
    let ids = vocabulary.iter().map(|(id, text)| (text.to_owned(), id));
    let model = BPE::builder()
        .vocab_and_merges(ids.collect::<tokenizers::models::bpe::Vocab>(), merges)
        .ignore_merges(scheme.whole_pieces)
        .build()
        .map_err(VocabularyFlaw::library)?;
    let mut tokenizer = Tokenizer::new(model);
    if scheme.composes {
        tokenizer.with_normalizer(Some(NFC)).map_err(VocabularyFlaw::library)?;
    }
    tokenizer.with_pre_tokenizer(Some(splits(&scheme)?));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    Ok(Built { tokenizer, adds_bos: scheme.adds_bos, defaults: [None; 3] })
}

fn splits(scheme: &Scheme) -> Result<Sequence, VocabularyFlaw> {
    let split = |pattern: &&str| {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        split.map(PreTokenizerWrapper::from).map_err(VocabularyFlaw::library)
    };
    let mut steps = scheme.splits.iter().map(split).collect::<Result<Vec<_>, _>>()?;
    steps.push(ByteLevel::new(false, false, false).into());
    Ok(Sequence::new(steps))
}

/// The pairs that are joined, most urgent first. Each joins two tokens to a third, which the library does not
/// check without a panic.
fn merges(texts: &Texts, vocabulary: &Vocabulary<'_>) -> Result<Vec<(String, String)>, VocabularyFlaw> {
    if texts.len() > MAX_MERGES {
        return Err(VocabularyFlaw::TooManyMerges { count: texts.len(), limit: MAX_MERGES });
    }
    let mut joined = String::new();
    let mut pair = |text: &str| {
        // Where the first part is itself a space, the one between the parts is the next.
        let skipped = text.chars().next()?.len_utf8();
        let (left, right) = text.split_at(skipped + text[skipped..].find(' ')?);
        let right = &right[1..];
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        let known = [left, right, &joined].iter().all(|part| vocabulary.id(part).is_some());
        known.then(|| (left.to_owned(), right.to_owned()))
    };
    let pairs = texts.iter().enumerate();
    pairs
        .map(|(index, text)| pair(text).ok_or_else(|| VocabularyFlaw::BadMerge { index, text: brief(text) }))
        .collect()
}
