//! An answer that is told piece by piece.

use serde::Serialize;

use super::super::logprobs::ChatLogprobs;
use super::super::usage::{Usage, UsageTold};
use super::super::{FINGERPRINT, Head};
use super::answer::{call_id, finish_reason};
use super::{Manner, WithUsage};
use crate::capability::Token;
use crate::server::api_error::ApiError;
use crate::server::generation::Generation;
use crate::server::in_flight::Tracked;
use crate::server::spoken::{Called, Reader, Said};
use crate::server::sse::Writer;

#[derive(Debug, Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [ChunkChoice<'a>],
    /// Null until the last, where it is told at all.
    #[serde(skip_serializing_if = "UsageTold::is_nothing")]
    usage: UsageTold,
}

#[derive(Debug, Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

#[derive(Debug, Serialize)]
struct CallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Debug, Default, Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// Where the chunks of one answer go.
#[derive(Debug)]
struct Teller<'a> {
    writer: &'a Writer,
    head: &'a Head,
    with_usage: WithUsage,
}

/// One of the answers so far.
#[derive(Debug)]
struct Voice {
    index: usize,
    reader: Reader,
    /// How much of its text has come, in bytes.
    heard: usize,
    calls: usize,
    most_calls: usize,
}

/// Tells what `generation` writes as it comes.
pub(super) async fn tell(
    writer: &Writer,
    head: Head,
    manner: &Manner,
    mut generation: Generation,
    tracked: &Tracked,
) -> Result<(), ApiError> {
    let with_usage = manner.stream.unwrap_or(WithUsage::No);
    let teller = Teller { writer, head: &head, with_usage };
    let mut voices: Vec<_> = (0..manner.n).map(|index| Voice::new(index, manner)).collect();
    for voice in &voices {
        let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
        teller.delta(voice.index, delta, None).await;
    }
    while let Some(token) = generation.next().await {
        tracked.advance(1);
        if let Some(voice) = voices.get_mut(token.choice) {
            voice.hear(&teller, &token).await;
        }
    }
    let completion = generation.finish().await?;
    for (voice, choice) in voices.iter_mut().zip(&completion.choices) {
        let rest = choice.text.get(voice.heard..).unwrap_or_default();
        let said = [voice.reader.push(rest), voice.reader.finish()].concat();
        voice.say(&teller, &said, None).await;
        let reason = finish_reason(choice.finish_reason, voice.calls > 0);
        let (delta, finish_reason) = (Delta::default(), Some(reason));
        teller.choice(ChunkChoice { index: voice.index, delta, logprobs: None, finish_reason }).await;
    }
    if with_usage == WithUsage::Yes {
        teller.chunk(&[], Some(Usage::of([&completion]))).await;
    }
    writer.done().await;
    Ok(())
}

impl Voice {
    fn new(index: usize, manner: &Manner) -> Self {
        let (reader, most_calls) = (Reader::new(&manner.tools), manner.most_calls);
        Self { index, reader, heard: 0, calls: 0, most_calls }
    }

    async fn hear(&mut self, teller: &Teller<'_>, token: &Token) {
        self.heard += token.text.len();
        let said = if token.text.is_empty() { Vec::new() } else { self.reader.push(&token.text) };
        let logprobs = token.logprobs.as_ref().map(|logprobs| ChatLogprobs::of([logprobs]));
        self.say(teller, &said, logprobs).await;
    }

    /// Tells what was said; the token's probability goes with the first of it, or with nothing.
    async fn say(&mut self, teller: &Teller<'_>, said: &[Said], mut logprobs: Option<ChatLogprobs>) {
        for said in said {
            match said {
                Said::Thought(piece) => {
                    let delta = Delta { reasoning_content: Some(piece), ..Delta::default() };
                    teller.delta(self.index, delta, logprobs.take()).await;
                }
                Said::Text(piece) => {
                    let delta = Delta { content: Some(piece), ..Delta::default() };
                    teller.delta(self.index, delta, logprobs.take()).await;
                }
                Said::Call(_) if self.calls == self.most_calls => {}
                Said::Call(called) => self.call(teller, called, logprobs.take()).await,
            }
        }
        if logprobs.is_some() {
            let delta = Delta { content: Some(""), ..Delta::default() };
            teller.delta(self.index, delta, logprobs).await;
        }
    }

    /// First which tool, then what with.
    async fn call(&mut self, teller: &Teller<'_>, called: &Called, logprobs: Option<ChatLogprobs>) {
        let function = FunctionDelta { name: Some(&called.name), arguments: "" };
        let (id, r#type) = (Some(call_id()), Some("function"));
        let begins = CallDelta { index: self.calls, id, r#type, function };
        let function = FunctionDelta { name: None, arguments: &called.arguments };
        let goes_on = CallDelta { index: self.calls, id: None, r#type: None, function };
        self.calls += 1;
        let delta = |call| Delta { tool_calls: Some([call]), ..Delta::default() };
        teller.delta(self.index, delta(begins), logprobs).await;
        teller.delta(self.index, delta(goes_on), None).await;
    }
}

impl Teller<'_> {
    async fn delta(&self, index: usize, delta: Delta<'_>, logprobs: Option<ChatLogprobs>) {
        self.choice(ChunkChoice { index, delta, logprobs, finish_reason: None }).await;
    }

    async fn choice(&self, choice: ChunkChoice<'_>) {
        self.chunk(&[choice], None).await;
    }

    async fn chunk(&self, choices: &[ChunkChoice<'_>], usage: Option<Usage>) {
        let Head { id, created, model } = self.head;
        let chunk = Chunk {
            id,
            object: "chat.completion.chunk",
            created: *created,
            model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: match self.with_usage {
                WithUsage::Yes => usage.map_or(UsageTold::Later, UsageTold::All),
                WithUsage::No => UsageTold::Nothing,
            },
        };
        self.writer.event(&chunk).await;
    }
}
