//! The text of one answer as its tokens come.

use std::sync::Arc;

use super::TokenizerError;
use super::detokenizer::Detokenizer;
use super::prompt_tokenizer::PromptTokenizer;
use super::stop_texts::{Piece, StopTexts};

/// Turns the tokens of one answer into its text: never half a character, never a part of a stop text, and
/// all pieces together are what all tokens decode to; of lone bytes that turn out to be no characters, those
/// that came 64 bytes before stay the characters that they were. What a token costs does not grow with the
/// answer.
#[derive(Debug)]
pub(crate) struct TokenStream {
    tokenizer: Arc<PromptTokenizer>,
    characters: Detokenizer,
    stops: StopTexts,
}

impl TokenStream {
    /// A text that ends where one of `stops` begins.
    pub(crate) fn new(tokenizer: Arc<PromptTokenizer>, stops: &[String]) -> Self {
        let characters = Detokenizer::new(&tokenizer);
        Self { tokenizer, characters, stops: StopTexts::new(stops) }
    }

    /// What the next token adds. Once it says that a stop text was met, the answer is complete.
    pub(crate) fn push(&mut self, id: u32) -> Result<Piece, TokenizerError> {
        let text = self.characters.push(&self.tokenizer, id)?;
        Ok(self.stops.push(&text))
    }

    /// What was held back, when the answer ends otherwise than by a stop text. It may turn out to hold one:
    /// the last bytes of a token can complete one only now.
    pub(crate) fn finish(&mut self) -> Result<Piece, TokenizerError> {
        let text = self.characters.finish(&self.tokenizer)?;
        let mut last = self.stops.push(&text);
        if !last.stopped {
            last.text.push_str(&self.stops.finish());
        }
        Ok(last)
    }
}

#[cfg(test)]
mod tests;
