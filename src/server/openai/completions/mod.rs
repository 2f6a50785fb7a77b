//! `POST /v1/completions`: prompts that are continued as they stand, without a chat template.

mod request;
mod stream;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future::try_join_all;
use request::CompletionRequest;
use serde::Serialize;

use super::logprobs::CompletionLogprobs;
use super::usage::{Usage, UsageTold};
use super::{FINGERPRINT, Head};
use crate::capability::{Choice, DescribeRequest, FinishReason, GenerateRequest, TextCompletion};
use crate::engine::Capabilities;
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::arrival::Arrival;
use crate::server::generation::Generation;
use crate::server::in_flight::Tracked;
use crate::server::json_body::JsonBody;
use crate::server::sse;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new().route("/v1/completions", post(complete))
}

/// How an answer is to be told.
#[derive(Debug)]
struct Manner {
    /// What stands before each prompt's continuations, where it is told too.
    echoes: Vec<String>,
    /// How many continuations of each prompt.
    n: usize,
    logprobs: bool,
    stream: bool,
    include_usage: bool,
}

#[derive(Debug, Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<OneChoice>,
    /// Null until the last piece of a stream that tells it.
    #[serde(skip_serializing_if = "UsageTold::is_nothing")]
    usage: UsageTold,
}

#[derive(Debug, Serialize)]
struct OneChoice {
    index: usize,
    text: String,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<&'static str>,
}

impl<'a> Completion<'a> {
    fn new(head: &'a Head, choices: Vec<OneChoice>, usage: UsageTold) -> Self {
        Self {
            id: &head.id,
            object: "text_completion",
            created: head.created,
            model: &head.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
        }
    }
}

async fn complete(
    arrival: Arrival,
    JsonBody(request): JsonBody<CompletionRequest>,
) -> Result<Response, ApiError> {
    let app = &arrival.app;
    let key = app.find(request.model(), &[Capabilities::TextToText])?;
    let (requests, manner) = request.read()?;
    let tracked = arrival.track(&key);
    let generations = tracked.run(start(app, &key, requests)).await?;
    let head = Head::new("cmpl", key);
    if manner.stream {
        let keep_alive = app.config().keep_alive;
        let opening = try_join_all(generations.into_iter().map(|generation| generation.opened(keep_alive)));
        let generations = tracked.run(opening).await?;
        return Ok(sse::events(keep_alive, |writer| async move {
            let telling = stream::tell(&writer, &head, &manner, generations, &tracked);
            if let Err(error) = tracked.run(telling).await {
                writer.error(&error).await;
            }
        }));
    }
    let written = generations.into_iter().map(|generation| write(generation, &tracked));
    let completions = tracked.run(try_join_all(written)).await?;
    let choices = completions.iter().enumerate().flat_map(|(prompt, completion)| {
        let manner = &manner;
        completion.choices.iter().enumerate().map(move |(at, choice)| one(manner, prompt, at, choice))
    });
    let whole = Completion::new(&head, choices.collect(), UsageTold::All(Usage::of(&completions)));
    Ok(Json(whole).into_response())
}

async fn start(app: &App, key: &str, requests: Vec<GenerateRequest>) -> Result<Vec<Generation>, ApiError> {
    let mut generations = Vec::with_capacity(requests.len());
    for request in requests {
        let request = DescribeRequest::new(Vec::new(), request);
        generations.push(Generation::start(app, key, request).await?);
    }
    Ok(generations)
}

async fn write(mut generation: Generation, tracked: &Tracked) -> Result<TextCompletion, ApiError> {
    while generation.next().await.is_some() {
        tracked.advance(1);
    }
    generation.finish().await
}

fn one(manner: &Manner, prompt: usize, at: usize, choice: &Choice) -> OneChoice {
    let echo = manner.echoes.get(prompt).map_or("", String::as_str);
    let logprobs = || CompletionLogprobs::of(&choice.logprobs, echo.chars().count());
    OneChoice {
        index: prompt * manner.n + at,
        text: format!("{echo}{}", choice.text),
        logprobs: manner.logprobs.then(logprobs),
        finish_reason: Some(reason(choice)),
    }
}

fn reason(choice: &Choice) -> &'static str {
    match choice.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}
