//! Text in, a vector out.

use super::{Capability, NoEvent, TokenCount};

/// Turns texts into vectors whose distances follow meaning.
#[derive(Clone, Copy, Debug)]
pub struct TextEmbedding;

impl Capability for TextEmbedding {
    const NAME: &'static str = "text-embedding";
    type Request = EmbedRequest;
    type Event = NoEvent;
    type Output = Embedding;

    fn tokens(output: &Embedding) -> TokenCount {
        TokenCount { prompt: output.tokens as u64, completion: 0 }
    }
}

/// One text to embed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EmbedRequest {
    /// The text, or its tokens.
    pub input: EmbedInput,
    /// What becomes of a text that has more tokens than the model reads. Default: it is cut.
    pub overlong: Overlong,
    /// Scale the vector to length 1, or do not. Default: as the model's own files say.
    pub normalize: Option<bool>,
    /// Keep only the first so many numbers, for models trained so that this makes sense (Matryoshka);
    /// a normalized vector is normalized again. Default: all.
    pub dimensions: Option<usize>,
    /// Which of the model's own prompts to put before the text. Default: the model's default, if any.
    pub prompt_name: Option<String>,
}

impl EmbedRequest {
    /// Embeds `text` as the model's files say.
    pub fn new(text: impl Into<String>) -> Self {
        Self { input: EmbedInput::Text(text.into()), ..Self::default() }
    }

    /// Embeds what the model makes of these tokens.
    pub fn tokens(ids: impl Into<Vec<u32>>) -> Self {
        Self { input: EmbedInput::Tokens(ids.into()), ..Self::default() }
    }

    /// Sets [`overlong`](Self::overlong).
    #[must_use]
    pub fn overlong(mut self, overlong: Overlong) -> Self {
        self.overlong = overlong;
        self
    }

    /// Sets [`normalize`](Self::normalize).
    #[must_use]
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = Some(normalize);
        self
    }

    /// Sets [`dimensions`](Self::dimensions).
    #[must_use]
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets [`prompt_name`](Self::prompt_name).
    #[must_use]
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.prompt_name = Some(name.into());
        self
    }
}

/// A text, as it is written or as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbedInput {
    /// Text, of which the model's tokenizer makes tokens.
    Text(String),
    /// Tokens of the model's vocabulary, at least one and no more than it reads. They are used as they are: no
    /// special token comes around them, no prompt before them, and nothing is cut.
    Tokens(Vec<u32>),
}

impl Default for EmbedInput {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// What becomes of a text that has more tokens than the model reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlong {
    /// The model reads its beginning, and the answer says so.
    #[default]
    Cut,
    /// It is refused, with both numbers.
    Refuse,
}

/// The vector of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// As many numbers as the model has dimensions, or as were asked for.
    pub values: Vec<f32>,
    /// How many tokens the model read, special ones included.
    pub tokens: usize,
    /// Whether the text was longer than the model's limit and was cut there.
    pub truncated: bool,
}
