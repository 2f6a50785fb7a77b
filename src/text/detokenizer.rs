//! Token by token back to text: whole characters only, and in the end exactly what all ids decode to.

use super::TokenizerError;
use super::prompt_tokenizer::PromptTokenizer;
use super::spelling::Spelling;

/// How many bytes that are tokens of their own are waited for, one after another: sixteen characters of four
/// bytes each. The library shows such a run as a whole, and a script that a vocabulary has only as bytes never
/// ends one; so a longer one is given out in parts. Where one breaks after that, the text differs from what all
/// ids decode to: the library would show every byte of it as U+FFFD, the characters given out too.
const MAX_RUN: usize = 64;

/// How many tokens may wait for a character that does not come.
const MAX_WAITING: usize = 16;

/// Turns ids into text as they come.
#[derive(Debug)]
pub(super) enum Detokenizer {
    /// For vocabularies that write bytes: the bytes of a character that is not complete.
    Bytes(Vec<u8>),
    /// For all others.
    Window(Window),
}

impl Detokenizer {
    pub(super) fn new(tokenizer: &PromptTokenizer) -> Self {
        match tokenizer.spelling() {
            Spelling::ByteLevel => Self::Bytes(Vec::new()),
            _ => Self::Window(Window::default()),
        }
    }

    /// What `id` adds to the text. Special tokens and ids of no token add nothing.
    pub(super) fn push(&mut self, tokenizer: &PromptTokenizer, id: u32) -> Result<String, TokenizerError> {
        if tokenizer.is_special(id) {
            return Ok(String::new());
        }
        let Some(token) = tokenizer.written(id) else { return Ok(String::new()) };
        match self {
            Self::Bytes(waiting) => {
                waiting.extend(Spelling::ByteLevel.bytes(&token));
                Ok(take_characters(waiting))
            }
            Self::Window(window) => match tokenizer.spelling().lone_byte(&token) {
                Some(byte) => window.push_byte(tokenizer, id, byte),
                None => window.push(tokenizer, id),
            },
        }
    }

    /// What is left when no more tokens come.
    pub(super) fn finish(&mut self, tokenizer: &PromptTokenizer) -> Result<String, TokenizerError> {
        match self {
            Self::Bytes(waiting) => Ok(String::from_utf8_lossy(&std::mem::take(waiting)).into_owned()),
            Self::Window(window) => window.flush(tokenizer),
        }
    }
}

/// Takes all but an incomplete last character off `bytes`; what can be no character becomes U+FFFD as in
/// [`String::from_utf8_lossy`].
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut from = 0;
    loop {
        match std::str::from_utf8(&bytes[from..]) {
            Ok(rest) => {
                text.push_str(rest);
                from = bytes.len();
            }
            Err(error) => {
                let valid = from + error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[from..valid]));
                from = valid;
                if let Some(length) = error.error_len() {
                    text.push(char::REPLACEMENT_CHARACTER);
                    from += length;
                    continue;
                }
            }
        }
        bytes.drain(..from);
        return text;
    }
}

/// Asks the library for the text of the newest tokens after the one before them, and takes that one's off.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The token before, if any, and those whose text has not been given out.
    ids: Vec<u32>,
    /// How many bytes of their text have been given out: those of the token before.
    given: usize,
    /// The bytes of the run that `ids` end in.
    run: Vec<u8>,
    /// Whether the run can become characters no more.
    broken: bool,
}

impl Window {
    /// A token that is no lone byte: it ends a run, and its text is certain.
    fn push(&mut self, tokenizer: &PromptTokenizer, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        self.run.clear();
        self.broken = false;
        let text = tokenizer.decode(&self.ids)?;
        // Some decoders that are not known here have bytes of their own kind inside.
        let waits = tokenizer.spelling() == Spelling::Words && self.ids.len() < MAX_WAITING;
        if waits && text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let new = text.get(self.given..).unwrap_or_default().to_owned();
        self.start_after(tokenizer, Some(id))?;
        Ok(new)
    }

    /// A lone byte. Bytes that follow one another are decoded together, and where they are not UTF-8 as a
    /// whole, every one of them becomes U+FFFD; so their text is certain only when the run has ended or is
    /// broken. A run that stays good for [`MAX_RUN`] bytes is given out all the same, except an incomplete
    /// last character: would it break later, this text keeps what the library would then take back.
    fn push_byte(
        &mut self,
        tokenizer: &PromptTokenizer,
        id: u32,
        byte: u8,
    ) -> Result<String, TokenizerError> {
        if self.broken {
            return Ok(char::REPLACEMENT_CHARACTER.to_string());
        }
        self.ids.push(id);
        self.run.push(byte);
        match std::str::from_utf8(&self.run) {
            Err(error) if error.error_len().is_some() => {
                let new = self.flush(tokenizer)?;
                self.broken = true;
                Ok(new)
            }
            Err(error) if self.run.len() >= MAX_RUN => self.give_run(tokenizer, error.valid_up_to()),
            Ok(_) if self.run.len() >= MAX_RUN => self.give_run(tokenizer, self.run.len()),
            Ok(_) | Err(_) => Ok(String::new()),
        }
    }

    /// Gives out the first `length` bytes of the run.
    fn give_run(&mut self, tokenizer: &PromptTokenizer, length: usize) -> Result<String, TokenizerError> {
        let open = self.run.split_off(length);
        let open_ids = self.ids.split_off(self.ids.len() - open.len());
        let new = self.flush(tokenizer)?;
        self.run = open;
        self.ids.extend(open_ids);
        Ok(new)
    }

    /// All text that has not been given out.
    fn flush(&mut self, tokenizer: &PromptTokenizer) -> Result<String, TokenizerError> {
        let text = tokenizer.decode(&self.ids)?;
        let new = text.get(self.given..).unwrap_or_default().to_owned();
        if !self.run.is_empty() {
            // A byte would be decoded together with the bytes after it: something else must stand there.
            self.start_after(tokenizer, tokenizer.anchor())?;
        }
        Ok(new)
    }

    /// What comes next is decoded after `before`.
    fn start_after(
        &mut self,
        tokenizer: &PromptTokenizer,
        before: Option<u32>,
    ) -> Result<(), TokenizerError> {
        self.ids.clear();
        self.ids.extend(before);
        self.run.clear();
        self.given = if before.is_some() { tokenizer.decode(&self.ids)?.len() } else { 0 };
        Ok(())
    }
}
