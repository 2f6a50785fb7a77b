//! `POST /v1/chat/completions`.

mod answer;
mod message;
mod request;
mod stream;
mod tools;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use request::ChatRequest;

use super::Head;
use crate::server::api_error::ApiError;
use crate::server::arrival::Arrival;
use crate::server::generation::Generation;
use crate::server::json_body::JsonBody;
use crate::server::sse;
use crate::server::terms::Terms;

pub(super) fn routes() -> axum::Router<crate::server::app::App> {
    axum::Router::new().route("/v1/chat/completions", post(chat))
}

/// How an answer is to be told, beside what is asked of the model.
#[derive(Debug)]
struct Manner {
    /// How many answers.
    n: usize,
    /// The tools that may be called.
    tools: Vec<String>,
    /// How many calls an answer may hold; what is called beyond is left out.
    most_calls: usize,
    /// Whether each token is told with its probability.
    logprobs: bool,
    /// Piece by piece, if at all, and whether what it took is told at the end.
    stream: Option<WithUsage>,
}

/// Whether a stream tells what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WithUsage {
    Yes,
    No,
}

async fn chat(arrival: Arrival, JsonBody(request): JsonBody<ChatRequest>) -> Result<Response, ApiError> {
    let app = &arrival.app;
    let (terms, tools) = (Terms::of(app), request.tools()?);
    let manner = request.manner(&tools)?;
    let key = app.find(request.model(), Generation::wanted(request.shows_pictures()))?;
    let tracked = arrival.track(&key);
    let ask = async {
        let request = request.read(app, tools).await.map_err(as_said)?;
        Generation::start_on(app, &key, request, terms).await.map_err(as_said)
    };
    let mut generation = tracked.run(ask).await?;
    let head = Head::new("chatcmpl", key);
    if manner.stream.is_some() {
        let keep_alive = app.config().keep_alive;
        let generation = tracked.run(generation.opened(keep_alive)).await.map_err(as_said)?;
        return Ok(sse::events(keep_alive, |writer| async move {
            let telling = stream::tell(&writer, head, &manner, generation, &tracked);
            if let Err(error) = tracked.run(telling).await {
                writer.error(&as_said(error)).await;
            }
        }));
    }
    let write = async {
        while generation.next().await.is_some() {
            tracked.advance(1);
        }
        generation.finish().await.map_err(as_said)
    };
    let completion = tracked.run(write).await?;
    Ok(Json(answer::whole(&head, &manner, &completion)).into_response())
}

/// The error with the name that the wrong field has in a request to this endpoint.
fn as_said(mut error: ApiError) -> ApiError {
    let name = match error.param.as_deref() {
        Some("template_args") => "chat_template_kwargs",
        Some("images" | "image" | "places" | "prompt") => "messages",
        Some("logprobs") => "top_logprobs",
        _ => return error,
    };
    error.param = Some(name.to_owned());
    error
}
