//! The tokenizer in a GGUF file.
//!
//! The file has a list of tokens and, instead of a `tokenizer.json`, the name of a procedure. Two are
//! supported: `gpt2`, byte-level BPE with merges and a named way to split texts first ([`byte_level`]), and
//! `llama`, `SentencePiece`'s BPE with scores and bytes to fall back on ([`sentencepiece`]).
//!
//! Everything that `tokenizers` takes for granted is checked first, in time and memory that follow from the
//! file's size.

mod byte_level;
mod flaw;
mod sentencepiece;
mod vocabulary;

use std::collections::BTreeSet;

use tokenizers::processors::template::{SpecialToken, TemplateProcessing};
use tokenizers::{AddedToken, Tokenizer};

pub use flaw::VocabularyFlaw;

use self::vocabulary::Vocabulary;
use super::error::GgufError;
use super::file::GgufFile;
use crate::contain::contain;

/// What tokens are called that end an answer, in the chat formats there are. A file's metadata often name only
/// the one that ends a document.
const ENDS: [&str; 9] = [
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|return|>",
    "<|call|>",
];

/// A tokenizer, and what a file says beside it.
#[derive(Clone, Debug)]
pub struct GgufTokenizer {
    /// Turns text into ids and back; puts the special tokens around a text if it is asked to.
    pub tokenizer: Tokenizer,
    /// The tokens that mean something to the model.
    pub special: SpecialTokens,
    /// How messages become one text: a Jinja template.
    pub chat_template: Option<String>,
}

/// The tokens that mean something to the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what the vocabulary cannot express.
    pub unknown: Option<u32>,
    /// Fills up a batch.
    pub padding: Option<u32>,
    /// All tokens that end an answer, `eos` among them.
    pub ends: BTreeSet<u32>,
    /// Whether a text begins with `bos`.
    pub adds_bos: bool,
    /// Whether a text ends with `eos`.
    pub adds_eos: bool,
}

/// What a procedure makes of a vocabulary, and what it puts around texts where the file does not say.
struct Built {
    tokenizer: Tokenizer,
    adds_bos: bool,
    /// The ids of `bos`, `eos` and `unknown` where the file does not say.
    defaults: [Option<u32>; 3],
}

impl GgufTokenizer {
    /// The tokenizer in `file`.
    pub(super) fn read(file: &GgufFile) -> Result<Self, GgufError> {
        let refused = |flaw| GgufError::Tokenizer { file: file.name(), flaw };
        let model: &str = file.require("tokenizer.ggml.model")?;
        let vocabulary = Vocabulary::read(file.metadata()).map_err(refused)?;
        // The library asserts in several places, and what is checked above need not be all of them.
        let built = contain(|| match model {
            "gpt2" => byte_level::build(file.metadata(), &vocabulary),
            "llama" => sentencepiece::build(file.metadata(), &vocabulary),
            _ => Err(VocabularyFlaw::UnknownModel { model: model.chars().take(96).collect() }),
        });
        let Built { mut tokenizer, adds_bos, defaults } = built
            .unwrap_or(Err(VocabularyFlaw::Library { reason: "it panics".to_owned() }))
            .map_err(refused)?;
        let special = special_tokens(file, &vocabulary, adds_bos, defaults)?;
        let finished = contain(|| finish(&mut tokenizer, &vocabulary, &special));
        finished
            .unwrap_or(Err(VocabularyFlaw::Library { reason: "it panics".to_owned() }))
            .map_err(refused)?;
        let chat_template = file.get::<&str>("tokenizer.chat_template")?.map(str::to_owned);
        Ok(Self { tokenizer, special, chat_template })
    }
}

fn special_tokens(
    file: &GgufFile,
    vocabulary: &Vocabulary<'_>,
    adds_bos: bool,
    defaults: [Option<u32>; 3],
) -> Result<SpecialTokens, GgufError> {
    let id = |name: &str, default: Option<u32>| {
        let key = format!("tokenizer.ggml.{name}_token_id");
        // All ones is what converters write for -1: there is none.
        let stated = file.get::<i64>(&key)?.filter(|id| !matches!(id, -1 | 0xFFFF_FFFF));
        match stated.map(|id| u32::try_from(id).ok().filter(|id| vocabulary.has(*id)).ok_or(id)) {
            None => Ok(default.filter(|id| vocabulary.has(*id))),
            Some(Ok(id)) => Ok(Some(id)),
            Some(Err(id)) => {
                let flaw = VocabularyFlaw::NoSuchToken { key, id, tokens: vocabulary.len() };
                Err(GgufError::Tokenizer { file: file.name(), flaw })
            }
        }
    };
    let bos = id("bos", defaults[0])?;
    let eos = id("eos", defaults[1])?;
    let named = ENDS.iter().filter_map(|text| vocabulary.id(text));
    let ends = [eos, id("eot", None)?, id("eom", None)?].into_iter().flatten().chain(named).collect();
    Ok(SpecialTokens {
        bos,
        eos,
        unknown: id("unknown", defaults[2])?,
        padding: id("padding", None)?,
        ends,
        adds_bos: file.get("tokenizer.ggml.add_bos_token")?.unwrap_or(adds_bos) && bos.is_some(),
        adds_eos: file.get("tokenizer.ggml.add_eos_token")?.unwrap_or(false) && eos.is_some(),
    })
}

/// Adds what both procedures share: tokens that are found in a text before it is split, and those around it.
fn finish(
    tokenizer: &mut Tokenizer,
    vocabulary: &Vocabulary<'_>,
    special: &SpecialTokens,
) -> Result<(), VocabularyFlaw> {
    let own = [special.bos, special.eos, special.unknown].into_iter().flatten();
    let added = vocabulary.added(own)?;
    let added = added.map(|(text, special)| AddedToken::from(text, special).normalized(false));
    tokenizer.add_tokens(added).map_err(VocabularyFlaw::library)?;
    let around = |wanted: bool, id: Option<u32>, name: &str| {
        let id = id.filter(|_| wanted)?;
        SpecialToken::new(name.to_owned(), vec![id], vec![vocabulary.text(id)?.to_owned()]).ok()
    };
    let first = around(special.adds_bos, special.bos, "bos");
    let last = around(special.adds_eos, special.eos, "eos");
    if first.is_none() && last.is_none() {
        return Ok(());
    }
    let wrapped = |sequence: &str, kind: u32| {
        let before = first.is_some().then_some("bos");
        let after = last.is_some().then_some("eos");
        let pieces = before.into_iter().chain([sequence]).chain(after);
        pieces.map(|piece| format!("{piece}:{kind}")).collect::<Vec<_>>()
    };
    let (single, pair) = (wrapped("$A", 0), [wrapped("$A", 0), wrapped("$B", 1)].concat());
    let template = TemplateProcessing::builder()
        .try_single(single)
        .and_then(|builder| builder.try_pair(pair))
        .map_err(VocabularyFlaw::library)?
        .special_tokens(first.into_iter().chain(last).collect::<Vec<_>>())
        .build()
        .map_err(VocabularyFlaw::library)?;
    tokenizer.with_post_processor(Some(template));
    Ok(())
}
