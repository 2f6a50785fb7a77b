//! The same questions, asked of a server over `OpenAI`'s API.

use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Measured;
use super::description::QUESTION;
use super::pictures::noise;
use super::round::{Sample, Subject};
use super::words::{text, unlike_text};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::image::{decode, encode_png};

/// A model on a server.
pub(super) struct Remote<'a> {
    client: Client,
    model: &'a str,
    does: Measured,
    /// How many words a prompt has, about as many as it has tokens.
    words: usize,
    /// How many tokens an answer has at most.
    tokens: usize,
}

impl<'a> Remote<'a> {
    /// Texts to embed have about `tokens`; answers have them, to prompts of about `prompt`.
    pub(super) fn new(
        client: Client,
        model: &'a str,
        does: Measured,
        prompt: usize,
        tokens: Option<usize>,
    ) -> Self {
        let words = match does {
            Measured::TextEmbedding => tokens.unwrap_or(32).saturating_sub(2).max(1),
            _ => prompt,
        };
        Self { client, model, does, words, tokens: tokens.unwrap_or(64) }
    }

    fn answered(&self, path: &str, body: &Value) -> Result<Sample, Failure> {
        let begun = Instant::now();
        let answer = self.client.post(path, body)?;
        let tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap_or_default() as usize;
        Ok(Sample { waited: begun.elapsed(), tokens, ..Sample::default() })
    }

    /// An answer that comes in pieces, each of which is taken for a token.
    fn streamed(&self, path: &str, body: &Value, stop: &AtomicBool) -> Result<Sample, Failure> {
        let mut sample = Sample::default();
        let begun = Instant::now();
        let mut before = begun;
        let lines = BufReader::new(self.client.send(path, body)?.into_reader()).lines();
        for line in lines {
            let line = line.map_err(|error| self.strange(&error.to_string()))?;
            let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else { continue };
            let piece: Value =
                serde_json::from_str(data).map_err(|error| self.strange(&error.to_string()))?;
            if let Some(error) = piece.get("error") {
                let message = error["message"].as_str().unwrap_or("it does not say why").to_owned();
                return Err(Failure::Refused { url: self.client.url().to_owned(), status: 200, message });
            }
            if brings_text(&piece) {
                before = sample.token_came(begun, before);
            }
            if let Some(tokens) = piece["usage"]["completion_tokens"].as_u64() {
                sample.tokens = tokens as usize;
            }
            if stop.load(Ordering::Relaxed) {
                // Nobody wants it: the connection closes, and that cancels it.
                return Ok(sample);
            }
        }
        sample.waited = begun.elapsed();
        Ok(sample)
    }

    fn strange(&self, reason: &str) -> Failure {
        Failure::StrangeAnswer { url: self.client.url().to_owned(), reason: reason.to_owned() }
    }

    /// The `number`-th picture as a URL.
    fn picture(number: usize) -> Result<String, Failure> {
        let png = encode_png(&decode(&noise(number))?)?;
        Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
    }
}

/// Whether the piece of a stream has anything of the answer in it.
fn brings_text(piece: &Value) -> bool {
    let choice = &piece["choices"][0];
    [&choice["text"], &choice["delta"]["content"]]
        .into_iter()
        .any(|text| text.as_str().is_some_and(|text| !text.is_empty()))
}

impl Subject for Remote<'_> {
    fn ask(&self, number: usize, stop: &AtomicBool) -> Result<Sample, Failure> {
        let Self { model, words, tokens, .. } = self;
        match self.does {
            Measured::TextEmbedding => {
                let body =
                    json!({ "model": model, "input": text(*words, number), "encoding_format": "base64" });
                self.answered("/v1/embeddings", &body)
            }
            Measured::ImageEmbedding => {
                let input = json!([{ "image": Self::picture(number)? }]);
                let body = json!({ "model": model, "input": input, "encoding_format": "base64" });
                self.answered("/v1/embeddings", &body)
            }
            Measured::TextToText => {
                let body = json!({
                    "model": model, "prompt": unlike_text(*words, number), "max_tokens": tokens, "temperature": 0,
                    "stream": true, "stream_options": { "include_usage": true },
                });
                self.streamed("/v1/completions", &body, stop)
            }
            Measured::Vision => {
                let picture = json!({ "type": "image_url", "image_url": { "url": Self::picture(number)? } });
                let content = json!([picture, { "type": "text", "text": QUESTION }]);
                let body = json!({
                    "model": model, "messages": [{ "role": "user", "content": content }], "max_tokens": tokens,
                    "temperature": 0, "stream": true, "stream_options": { "include_usage": true },
                });
                self.streamed("/v1/chat/completions", &body, stop)
            }
            Measured::TextToImage => {
                let body = json!({ "model": model, "prompt": unlike_text(12, number), "seed": number });
                self.answered("/v1/images/generations", &body).map(|sample| Sample { tokens: 0, ..sample })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_an_answer_are_told_from_the_rest() {
        for (piece, brings) in [
            (json!({ "choices": [{ "text": "a" }] }), true),
            (json!({ "choices": [{ "delta": { "content": "a" } }] }), true),
            (json!({ "choices": [{ "delta": { "role": "assistant", "content": "" } }] }), false),
            (json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }), false),
            (json!({ "choices": [], "usage": { "completion_tokens": 3 } }), false),
        ] {
            assert_eq!(brings_text(&piece), brings, "{piece}");
        }
    }
}
