//! What a folder says of its tokenizer beside `tokenizer.json`.

use serde::Deserialize;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence, Strip};

/// What `tokenizer_config.json` says that bears on encoding. It has the last word on a BERT normalizer, as
/// in transformers.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct TokenizerSettings {
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    /// Often an absurdly large float that means "no limit", hence no integer.
    model_max_length: Option<f64>,
    truncation_side: Option<String>,
    padding_side: Option<String>,
    pad_token: Option<NamedToken>,
    bos_token: Option<NamedToken>,
    eos_token: Option<NamedToken>,
    unk_token: Option<NamedToken>,
    /// Where it is, older files beside have no say.
    added_tokens_decoder: Option<serde::de::IgnoredAny>,
    tokenizer_class: Option<String>,
    /// Not from this file: `do_lower_case` of sentence-transformers' own, which lower-cases texts first.
    #[serde(skip)]
    pub(crate) lower_case_first: bool,
}

/// `special_tokens_map.json`: what older folders say of their tokenizer in a file of its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the file's own")]
pub(crate) struct SpecialTokens {
    pad_token: Option<NamedToken>,
    bos_token: Option<NamedToken>,
    eos_token: Option<NamedToken>,
    unk_token: Option<NamedToken>,
}

/// The special tokens of a tokenizer of CLIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClipTokens<'a> {
    pub(super) start: &'a str,
    pub(super) end: &'a str,
    pub(super) unknown: &'a str,
    pub(super) padding: &'a str,
}

/// A token's text, or an object that says more of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum NamedToken {
    Text(String),
    Described {
        content: String,
    },
    /// What else old files hold there says nothing.
    Other(serde::de::IgnoredAny),
}

fn text_of(token: Option<&NamedToken>) -> Option<&str> {
    match token? {
        NamedToken::Text(text) | NamedToken::Described { content: text } => Some(text),
        NamedToken::Other(_) => None,
    }
}

impl TokenizerSettings {
    /// The same, but for what `special_tokens_map.json` says, which counts where both do.
    pub(crate) fn with_special(mut self, special: SpecialTokens) -> Self {
        if self.added_tokens_decoder.is_none() {
            self.pad_token = special.pad_token.or(self.pad_token);
            self.bos_token = special.bos_token.or(self.bos_token);
            self.eos_token = special.eos_token.or(self.eos_token);
            self.unk_token = special.unk_token.or(self.unk_token);
        }
        self
    }

    /// The text of the token that texts are filled up with.
    pub(super) fn pad_token(&self) -> Option<&str> {
        text_of(self.pad_token.as_ref())
    }

    /// What a tokenizer of CLIP puts around texts and behind them.
    pub(super) fn clip_tokens(&self) -> ClipTokens<'_> {
        const END: &str = "<|endoftext|>";
        ClipTokens {
            start: text_of(self.bos_token.as_ref()).unwrap_or("<|startoftext|>"),
            end: text_of(self.eos_token.as_ref()).unwrap_or(END),
            unknown: text_of(self.unk_token.as_ref()).unwrap_or(END),
            padding: text_of(self.pad_token.as_ref()).unwrap_or(END),
        }
    }

    /// What the tokenizer's class does to a text first, beside what its file says.
    fn first(&self) -> Vec<NormalizerWrapper> {
        let lower = self.lower_case_first.then(|| Lowercase.into());
        match self.tokenizer_class.as_deref() {
            Some("SiglipTokenizer") => cleaning(self.do_lower_case.unwrap_or(true)),
            Some("Siglip2Tokenizer") => vec![Lowercase.into()],
            _ => lower.into_iter().collect(),
        }
    }

    /// The normalizer of `tokenizer.json` with these settings applied, if that makes a difference.
    pub(super) fn normalizer(&self, from_file: Option<&NormalizerWrapper>) -> Option<NormalizerWrapper> {
        let mut normalizer = from_file.cloned();
        if let Some(NormalizerWrapper::BertNormalizer(bert)) = &mut normalizer {
            bert.lowercase = self.do_lower_case.unwrap_or(bert.lowercase);
            bert.handle_chinese_chars = self.tokenize_chinese_chars.unwrap_or(bert.handle_chinese_chars);
            bert.strip_accents = self.strip_accents.or(bert.strip_accents);
        }
        let first = self.first();
        let known = matches!(first.as_slice(), [NormalizerWrapper::Lowercase(_)])
            && normalizer.as_ref().is_some_and(lowers_case);
        if first.is_empty() || known {
            return normalizer;
        }
        Some(Sequence::new(first.into_iter().chain(normalizer).collect()).into())
    }

    /// Whether texts are filled up before their beginnings, not behind their ends; Gemma's tokenizers, which are
    /// `SigLIP` 2's too, do unless the file says otherwise.
    pub(super) fn fills_left(&self) -> bool {
        let class = self.tokenizer_class.as_deref();
        let usual = matches!(class, Some("Siglip2Tokenizer" | "GemmaTokenizer" | "GemmaTokenizerFast"));
        self.padding_side.as_deref().map_or(usual, |side| side == "left")
    }

    /// The limit the file states, if it states a real one.
    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.model_max_length.filter(|n| (1.0..1e9).contains(n)).map(|n| n as usize)
    }

    /// Whether the file asks to cut texts on the left, which nothing here does.
    pub(crate) fn cuts_left(&self) -> bool {
        self.truncation_side.as_deref() == Some("left")
    }
}

/// What `SigLIP` was trained with: no punctuation, no more than one blank in a row and none at the ends.
fn cleaning(lower: bool) -> Vec<NormalizerWrapper> {
    let replace = |pattern: &str, by: &str| {
        let pattern = ReplacePattern::Regex(pattern.to_owned());
        Replace::new(pattern, by).expect("it is a regular expression").into()
    };
    let lower = lower.then(|| Lowercase.into());
    let rest = [replace(r"[!-/:-@\[-`{-~]", ""), replace(r"\s+", " "), Strip::new(true, true).into()];
    lower.into_iter().chain(rest).collect()
}

fn lowers_case(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Lowercase(_) => true,
        NormalizerWrapper::BertNormalizer(bert) => bert.lowercase,
        NormalizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(lowers_case),
        _ => false,
    }
}
