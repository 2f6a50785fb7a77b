//! Text to token ids.
//!
//! A thin shell around Hugging Face's `tokenizers` that makes it safe to feed it anything and that cuts at
//! the model's limit the way sentence-transformers does: the text's own tokens are cut on the right so that
//! the special tokens still fit around them.
//!
//! What looks like a special token in a text (`"[SEP]"`) becomes that token, as in the reference. For an
//! encoder that is harmless: it can only change the vector of the text it stands in.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tokenizers::{Encoding, PostProcessor};

use super::clip_files;
use super::tokenizer_settings::TokenizerSettings;
use crate::capability::Overlong;
use crate::contain::contain;

/// No tokenizer in use comes near this; the largest known have 33 MiB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// How many tokens past the limit must be seen before the rest of a text is left unread: more than one cut
/// word can change. (A `WordPiece` word has at most 100; beyond, it is one unknown token.)
const MARGIN_TOKENS: usize = 256;

/// How many characters per wanted token are read at first.
const CHARS_PER_TOKEN: usize = 16;

/// A tokenizer could not be loaded, or not tokenize.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The tokenizer's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any tokenizer's.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The tokenizer's file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The file is no tokenizer that the `tokenizers` library understands.
    #[error("{} is no usable tokenizer: {reason}", path.display())]
    Invalid {
        /// The tokenizer's file.
        path: PathBuf,
        /// What the library said.
        reason: String,
    },
    /// The model takes so few tokens that the special ones alone fill it.
    #[error("a limit of {limit} tokens leaves no room for text beside {special} special ones")]
    NoRoom {
        /// The model's limit.
        limit: usize,
        /// How many special tokens surround a text.
        special: usize,
    },
    /// A text is longer than the limit and was not to be cut.
    #[error(
        "it has {}{tokens} tokens, special ones included, and the model reads at most {limit}",
        if *.read_to_end { "" } else { "at least " }
    )]
    Overlong {
        /// How many tokens it has, special ones included, as far as it was read.
        tokens: usize,
        /// Whether it was read to its end; a text far over the limit is not.
        read_to_end: bool,
        /// The model's limit.
        limit: usize,
    },
    /// The library failed on a text, or on a tokenizer that comes in no file of its own.
    #[error("tokenizing failed: {0}")]
    Failed(String),
}

impl TokenizerError {
    fn invalid(path: &Path, reason: &impl ToString) -> Self {
        Self::Invalid { path: path.to_owned(), reason: reason.to_string() }
    }

    /// What failed while the file was made a tokenizer of is the file's fault, and is said with its name.
    pub(super) fn of_file(self, path: &Path) -> Self {
        match self {
            Self::Failed(reason) => Self::invalid(path, &reason),
            other => other,
        }
    }
}

/// The tokens of one text, special ones included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EncodedText {
    pub(crate) ids: Vec<u32>,
    /// The segment each token belongs to; as many as `ids`.
    pub(crate) type_ids: Vec<u32>,
    /// Whether the text was longer than the limit.
    pub(crate) truncated: bool,
}

/// A loaded tokenizer with its limit. Encoding takes `&self`: one serves any number of threads.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    library: tokenizers::Tokenizer,
    special_ids: BTreeSet<u32>,
    /// The most tokens of a text itself: the model's limit less the special tokens around it.
    max_text_tokens: usize,
    /// How many special tokens surround a text.
    special: usize,
    filling: Option<Filling>,
}

/// Every text gets as long as this.
#[derive(Clone, Copy, Debug)]
struct Filling {
    length: usize,
    id: u32,
    /// Or behind.
    before: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json`. The file's own padding and truncation are set aside; `max_tokens` is the limit.
    pub(crate) fn load(
        path: &Path,
        settings: &TokenizerSettings,
        max_tokens: usize,
    ) -> Result<Self, TokenizerError> {
        Self::of_library(read_library(path)?, path, settings, max_tokens)
    }

    /// Reads CLIP's `vocab.json` and `merges.txt`.
    pub(crate) fn of_clip_files(
        vocabulary: &Path,
        merges: &Path,
        settings: &TokenizerSettings,
        max_tokens: usize,
    ) -> Result<Self, TokenizerError> {
        let library = clip_files::read(vocabulary, merges, settings)?;
        Self::of_library(library, vocabulary, settings, max_tokens)
    }

    fn of_library(
        mut library: tokenizers::Tokenizer,
        path: &Path,
        settings: &TokenizerSettings,
        max_tokens: usize,
    ) -> Result<Self, TokenizerError> {
        if let Some(normalizer) = settings.normalizer(library.get_normalizer()) {
            library.with_normalizer(Some(normalizer)).map_err(|e| TokenizerError::invalid(path, &e))?;
        }
        let special = library.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if max_tokens <= special {
            return Err(TokenizerError::NoRoom { limit: max_tokens, special });
        }
        let special_ids = special_ids(&library);
        Ok(Self { library, special_ids, max_text_tokens: max_tokens - special, special, filling: None })
    }

    /// The same, filling texts up to `length` tokens: with that token which the settings name, or else with
    /// `fallback`, and on the side that they say.
    pub(crate) fn filling(mut self, length: usize, settings: &TokenizerSettings, fallback: u32) -> Self {
        let id = settings.pad_token().and_then(|token| self.library.token_to_id(token)).unwrap_or(fallback);
        let before = settings.fills_left();
        self.filling = Some(Filling { length, id, before });
        self
    }

    /// Whether `id` names a special token, such as the end of a text.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// The tokens of `text`, cut at the limit or refused beyond it.
    ///
    /// A text far over the limit is not read to its end: first about sixteen characters for every wanted
    /// token, four times more until the limit is passed by a margin that one cut word cannot reach back
    /// across. So the work is bounded by what is kept, and the tokens are those of the whole text.
    pub(crate) fn encode(&self, text: &str, overlong: Overlong) -> Result<EncodedText, TokenizerError> {
        let enough = self.max_text_tokens.saturating_add(MARGIN_TOKENS);
        let mut chars = enough.saturating_mul(CHARS_PER_TOKEN);
        loop {
            // Bytes first: only a text longer than so many bytes can be longer than so many characters.
            let end =
                if text.len() <= chars { None } else { text.char_indices().nth(chars).map(|(at, _)| at) };
            let encoding = self.tokens(&text[..end.unwrap_or(text.len())])?;
            let read_to_end = end.is_none();
            if read_to_end || encoding.len() >= enough {
                if overlong == Overlong::Refuse && encoding.len() > self.max_text_tokens {
                    return Err(self.overlong(encoding.len(), read_to_end));
                }
                return self.finish(encoding);
            }
            chars = chars.saturating_mul(4);
        }
    }

    fn overlong(&self, text_tokens: usize, read_to_end: bool) -> TokenizerError {
        let limit = self.max_text_tokens + self.special;
        TokenizerError::Overlong { tokens: text_tokens + self.special, read_to_end, limit }
    }

    /// The tokens of the text alone.
    fn tokens(&self, text: &str) -> Result<Encoding, TokenizerError> {
        contained(|| self.library.encode_fast(text, false))
    }

    /// Tokens as they are, no special ones around them, filled up where texts are.
    pub(crate) fn taken(&self, ids: &[u32]) -> EncodedText {
        let mut text = EncodedText { ids: ids.to_vec(), type_ids: vec![0; ids.len()], truncated: false };
        self.fill(&mut text);
        text
    }

    fn fill(&self, EncodedText { ids, type_ids, .. }: &mut EncodedText) {
        let Some(Filling { length, id, before }) = self.filling else { return };
        let missing = length.saturating_sub(ids.len());
        let at = if before { 0 } else { ids.len() };
        ids.splice(at..at, std::iter::repeat_n(id, missing));
        type_ids.splice(at..at, std::iter::repeat_n(0, missing));
    }

    /// Cuts, and puts the special tokens around what is left.
    fn finish(&self, mut encoding: Encoding) -> Result<EncodedText, TokenizerError> {
        let truncated = encoding.len() > self.max_text_tokens;
        if truncated {
            encoding.truncate(self.max_text_tokens, 0, tokenizers::TruncationDirection::Right);
            drop(encoding.take_overflowing());
        }
        let whole = contained(|| self.library.post_process(encoding, None, true))?;
        let (ids, type_ids) = (whole.get_ids().to_vec(), whole.get_type_ids().to_vec());
        let mut text = EncodedText { ids, type_ids, truncated };
        self.fill(&mut text);
        Ok(text)
    }
}

/// The tokenizer of a `tokenizer.json`, its own padding and truncation set aside.
pub(super) fn read_library(path: &Path) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let bytes = read_bounded(path)?;
    // The library has assertions about its files in several places.
    let read = contained(|| {
        let mut library = tokenizers::Tokenizer::from_bytes(&bytes)?;
        library.with_truncation(None)?;
        library.with_padding(None);
        Ok(library)
    });
    read.map_err(|error| error.of_file(path))
}

/// The tokens that its file calls special.
pub(super) fn special_ids(library: &tokenizers::Tokenizer) -> BTreeSet<u32> {
    let tokens = library.get_added_tokens_decoder();
    tokens.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect()
}

pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let fail = |source| TokenizerError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(fail)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(TokenizerError::TooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES });
    }
    Ok(bytes)
}

/// Runs the library so that its panics are errors. The tokenizer has no state that one could leave broken.
pub(super) fn contained<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, TokenizerError> {
    match contain(run) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) => Err(TokenizerError::Failed(error.to_string())),
        Err(_) => Err(TokenizerError::Failed("the library panicked".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(max_tokens: usize) -> Tokenizer {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed/tokenizer.json");
        Tokenizer::load(&path, &TokenizerSettings::default(), max_tokens).unwrap()
    }

    #[test]
    fn an_over_long_text_has_the_tokens_of_its_beginning() {
        let tokenizer = shapes(16);
        let long = "a red circle left of a blue square, ".repeat(20_000);
        let short = "a red circle left of a blue square, a red circle left of a blue square";
        let short = tokenizer.encode(short, Overlong::Cut).unwrap();
        let cut = tokenizer.encode(&long, Overlong::Cut).unwrap();
        assert_eq!((cut.ids.len(), &cut.ids), (16, &short.ids));
        assert!(cut.truncated && short.truncated);
    }

    #[test]
    fn words_after_a_desert_of_spaces_are_found() {
        let tokenizer = shapes(16);
        let desert = format!("red{}blue", " ".repeat(1_000_000));
        let tokens = |text| tokenizer.encode(text, Overlong::Cut).unwrap();
        assert_eq!(tokens(&desert), tokens("red blue"));
    }

    #[test]
    fn what_may_not_be_cut_is_refused_beyond_the_limit_and_not_at_it() {
        let tokenizer = shapes(16);
        let refuse = |words: usize| tokenizer.encode(&"red ".repeat(words), Overlong::Refuse);
        let fits = refuse(14).unwrap();
        assert_eq!((fits.ids.len(), fits.truncated), (16, false));
        let error = refuse(15).unwrap_err().to_string();
        assert_eq!(error, "it has 17 tokens, special ones included, and the model reads at most 16");
        let error = refuse(100_000).unwrap_err();
        let TokenizerError::Overlong { tokens, read_to_end: false, limit: 16 } = error else {
            panic!("{error}")
        };
        assert!((17..5_000).contains(&tokens), "{tokens}: no more is read than it takes to know");
    }

    #[test]
    fn filled_texts_have_one_length_on_either_side() {
        let settings = |side: &str| {
            let json = format!(r#"{{"pad_token": {{"content": "[PAD]"}}, "padding_side": "{side}"}}"#);
            serde_json::from_str::<TokenizerSettings>(&json).unwrap()
        };
        let plain = shapes(16).encode("a red circle", Overlong::Cut).unwrap().ids;
        let id = shapes(16).library.token_to_id("[PAD]").unwrap();
        let padding = vec![id; 16 - plain.len()];
        let filled = |side| shapes(16).filling(16, &settings(side), 99).encode("a red circle", Overlong::Cut);
        assert_eq!(filled("right").unwrap().ids, [plain.clone(), padding.clone()].concat());
        assert_eq!(filled("left").unwrap().ids, [padding, plain].concat());
        assert_eq!(filled("left").unwrap().type_ids.len(), 16);
        let fills_left = |json: &str| serde_json::from_str::<TokenizerSettings>(json).unwrap().fills_left();
        assert!(fills_left(r#"{"tokenizer_class": "Siglip2Tokenizer"}"#));
        assert!(!fills_left(r#"{"tokenizer_class": "GemmaTokenizer", "padding_side": "right"}"#));
        assert!(!fills_left(r#"{"tokenizer_class": "SiglipTokenizer"}"#));
    }

    #[test]
    fn siglip_reads_no_punctuation() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed/tokenizer.json");
        let settings = serde_json::from_str(r#"{"tokenizer_class": "SiglipTokenizer"}"#).unwrap();
        let siglip = Tokenizer::load(&path, &settings, 16).unwrap();
        let clean = shapes(16).encode("a red circle", Overlong::Cut).unwrap();
        for text in [" a\n\tred, CIRCLE!? ", "A [red] \"circle\"", "a red circle"] {
            assert_eq!(siglip.encode(text, Overlong::Cut).unwrap(), clean, "{text:?}");
        }
    }

    #[test]
    fn a_limit_without_room_for_text_is_refused() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed/tokenizer.json");
        let error = Tokenizer::load(&path, &TokenizerSettings::default(), 2).unwrap_err();
        assert!(matches!(error, TokenizerError::NoRoom { limit: 2, special: 2 }), "{error}");
    }

    #[test]
    fn a_file_that_is_no_tokenizer_is_refused() {
        for content in ["", "{}", "[[[[", r#"{"version":"1.0","model":{"type":"WordPiece","vocab":{}}}"#] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), content).unwrap();
            // What does load must at least not panic on text.
            if let Ok(tokenizer) = Tokenizer::load(file.path(), &TokenizerSettings::default(), 16) {
                let _ = tokenizer.encode("a red circle", Overlong::Cut);
            }
        }
        let error = Tokenizer::load(Path::new("/nowhere"), &TokenizerSettings::default(), 16).unwrap_err();
        assert!(matches!(error, TokenizerError::Read { .. }));
    }
}
