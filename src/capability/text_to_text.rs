//! Text in, text out, token by token.

use super::Capability;

/// Continues a prompt or answers a conversation.
#[derive(Clone, Copy, Debug)]
pub struct TextToText;

impl Capability for TextToText {
    const NAME: &'static str = "text-to-text";
    type Request = GenerateRequest;
    type Event = Token;
    type Output = Completion;
}

/// What to continue.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text, given to the tokenizer as it is.
    Raw(String),
    /// A conversation, put into words by the model's own chat template.
    Chat(Vec<Message>),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sets the rules.
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
    /// Reports what a tool returned.
    Tool,
}

/// One prompt and how to continue it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GenerateRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// At most so many tokens. Default 256.
    pub max_tokens: usize,
    /// 0 takes the likeliest token always; 1 samples as the model learnt. Default 0.
    pub temperature: f32,
    /// Sample only from the likeliest tokens that together have this probability. Default 1: from all.
    pub top_p: f32,
    /// The same seed gives the same text. Default: another one each time.
    pub seed: Option<u64>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
}

impl GenerateRequest {
    /// Continues `prompt` with the defaults above.
    pub fn new(prompt: Prompt) -> Self {
        Self { prompt, max_tokens: 256, temperature: 0.0, top_p: 1.0, seed: None, stop: Vec::new() }
    }
}

/// One generated token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: u32,
    /// What it adds to the text: whole characters only, so it may be empty.
    pub text: String,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop text was met.
    Stop,
    /// The limit on tokens was met.
    Length,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The generated text.
    pub text: String,
    /// Every sampled token, the ending one too.
    pub token_ids: Vec<u32>,
    /// How many tokens the prompt had.
    pub prompt_tokens: usize,
    /// Why it ended.
    pub finish_reason: FinishReason,
}
