//! `SentencePiece`'s BPE: `tokenizer.ggml.model` is `llama`, whatever the model.
//!
//! Spaces become `▁`, and of all neighbours that together are a piece, those are joined first whose piece has the
//! best score. The library joins pairs by rank instead, so the pairs are derived from the pieces: each way to
//! cut a piece in two is a pair, ranked by the piece's score, as transformers' converter does it.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence};
use tokenizers::{DecoderWrapper, NormalizerWrapper, Tokenizer};

use super::Built;
use super::flaw::VocabularyFlaw;
use super::vocabulary::{Use, Vocabulary};
use crate::weights::gguf::metadata::Metadata;

const SPACE: &str = "▁";
/// The unknown piece, where the file does not say; the pieces before and after a text follow it.
const UNKNOWN: u32 = 0;

pub(super) fn build(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Built, VocabularyFlaw> {
    let unknown = metadata.get::<u32>("tokenizer.ggml.unknown_token_id")?.unwrap_or(UNKNOWN);
    let ids = vocabulary.iter().map(|(id, text)| (text.to_owned(), id));
    let mut model = BPE::builder()
        .vocab_and_merges(ids.collect::<Vocab>(), merges(vocabulary, &scores(metadata, vocabulary)?)?)
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(text) = vocabulary.text(unknown) {
        model = model.unk_token(text.to_owned());
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(VocabularyFlaw::library)?);
    let prefixed = metadata.get("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    tokenizer.with_normalizer(Some(normalizer(prefixed)?)).map_err(VocabularyFlaw::library)?;
    tokenizer.with_decoder(Some(decoder(prefixed)?));
    Ok(Built { tokenizer, adds_bos: true, defaults: [Some(UNKNOWN + 1), Some(UNKNOWN + 2), Some(UNKNOWN)] })
}

fn normalizer(prefixed: bool) -> Result<Sequence, VocabularyFlaw> {
    let spaces = Replace::new(" ", SPACE).map_err(VocabularyFlaw::library)?;
    let prefix = prefixed.then(|| NormalizerWrapper::from(Prepend::new(SPACE.to_owned())));
    Ok(Sequence::new(prefix.into_iter().chain([spaces.into()]).collect()))
}

fn decoder(prefixed: bool) -> Result<Decoders, VocabularyFlaw> {
    let spaces = Replace::new(SPACE, " ").map_err(VocabularyFlaw::library)?;
    let mut steps: Vec<DecoderWrapper> = vec![spaces.into(), ByteFallback::new().into(), Fuse::new().into()];
    if prefixed {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    Ok(Decoders::new(steps))
}

fn scores(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Vec<f32>, VocabularyFlaw> {
    let scores: Vec<f32> = metadata.require("tokenizer.ggml.scores")?;
    vocabulary.check_count("scores", scores.len())?;
    match scores.iter().position(|score| !score.is_finite()) {
        Some(id) => Err(VocabularyFlaw::BadScore { id }),
        None => Ok(scores),
    }
}

/// How much may be made of a vocabulary: bytes looked at and kept, for each byte of it. Vocabularies in use need
/// less than a fifth; one of nothing but runs of a letter would need memory with the third power of its size.
const MAX_GROWTH: usize = 64;
/// The same in all: the largest vocabularies in use need 60 MB.
const MAX_SPENT: usize = 1 << 30;
/// What a token or a merge takes beside its text, roughly.
const OVERHEAD: usize = 16;

/// All ways to cut a piece in two pieces, best first.
fn merges(vocabulary: &Vocabulary<'_>, scores: &[f32]) -> Result<Vec<(String, String)>, VocabularyFlaw> {
    let size: usize = vocabulary.iter().map(|(_, text)| text.len() + OVERHEAD).sum();
    let mut allowance = (size * MAX_GROWTH).min(MAX_SPENT);
    let mut spend = |bytes: usize| {
        allowance = allowance.checked_sub(bytes).ok_or(VocabularyFlaw::TooEntangled)?;
        Ok::<_, VocabularyFlaw>(())
    };
    let mut found: Vec<Merge> = Vec::new();
    for (id, text) in vocabulary.iter().filter(|(id, _)| is_piece(vocabulary, *id)) {
        let first = found.len();
        // Each cut reads the whole text once.
        spend(text.len() * text.chars().count())?;
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(l), Some(r)) = (vocabulary.id(left), vocabulary.id(right)) {
                spend(text.len() + 4 * OVERHEAD)?;
                let lengths = (left.chars().count(), right.chars().count());
                found.push(Merge { score: scores[id as usize] + 0.0, lengths, parts: (l, r) });
            }
        }
        found[first..].sort_by_key(|merge| merge.parts);
    }
    // Stable: what is equal stays in the order of the pieces.
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.lengths.cmp(&a.lengths)));
    let text = |id| vocabulary.text(id).map(str::to_owned);
    Ok(found.iter().filter_map(|merge| Some((text(merge.parts.0)?, text(merge.parts.1)?))).collect())
}

struct Merge {
    score: f32,
    /// In characters.
    lengths: (usize, usize),
    parts: (u32, u32),
}

/// Whether joining may end in this token.
fn is_piece(vocabulary: &Vocabulary<'_>, id: u32) -> bool {
    matches!(vocabulary.use_of(id), Use::Normal | Use::UserDefined | Use::Unused)
}
