//! A text in, a text out: the protocol's extension for models that write.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::parameters::{WritingParameters, read as read_parameters, terms};
use super::path::{Action, VERSION};
use super::plan::ask;
use crate::capability::{DescribeRequest, FinishReason};
use crate::engine::Capabilities;
use crate::server::api_error::ApiError;
use crate::server::arrival::Arrival;
use crate::server::generation::Generation;
use crate::server::image_url::pictures;
use crate::server::json_body::{parse, read_as};
use crate::server::sse;
use crate::server::terms::Terms;
use crate::server::texts::Texts;

/// The body. Parameters may stand beside the text too.
#[derive(Deserialize)]
struct Asked {
    id: Option<String>,
    #[serde(alias = "prompt")]
    text_input: String,
    /// Pictures as base64, or in `data:` URLs.
    #[serde(default)]
    image: Texts,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(flatten)]
    beside: Map<String, Value>,
}

/// Answers one request, as it is written or when it is.
pub(super) async fn generate(
    arrival: Arrival,
    model: String,
    action: Action,
    request: Request,
) -> Result<Response, ApiError> {
    let app = arrival.app.clone();
    let depth = app.config().limits.depth;
    // A model that does not write is refused before anything is read.
    app.find(Some(&model), Generation::wanted(false))?;
    let mut asked: Asked = read_as(request, &app, move |body| parse(body, depth)).await?;
    let images = pictures(&asked.image.0);
    let key = app.find(Some(&model), Generation::wanted(!images.is_empty()))?;
    let mut parameters = std::mem::take(&mut asked.beside);
    parameters.append(&mut asked.parameters);
    let how: WritingParameters = read_parameters(&parameters)?;
    let streams = action == Action::GenerateStream;
    if !streams && how.stream == Some(true) {
        return Err(ApiError::invalid("parameters.stream", "generate_stream answers in a stream"));
    }
    let terms = terms(Terms::of(&app), &parameters)?;
    let chat = !images.is_empty() || !app.can(&key, Capabilities::TextToText);
    let text = std::mem::take(&mut asked.text_input);
    let request = ask(text, &images, chat, &how);
    let head = head(&model, asked.id.as_deref());
    if streams {
        stream(&arrival, &key, request, terms, head).await
    } else {
        whole(&arrival, &key, request, terms, head).await
    }
}

fn head(model: &str, id: Option<&str>) -> Map<String, Value> {
    let mut head = Map::new();
    if let Some(id) = id {
        head.insert("id".to_owned(), id.into());
    }
    head.insert("model_name".to_owned(), model.into());
    head.insert("model_version".to_owned(), VERSION.into());
    head
}

async fn whole(
    arrival: &Arrival,
    key: &str,
    request: DescribeRequest,
    terms: Terms,
    mut head: Map<String, Value>,
) -> Result<Response, ApiError> {
    let tracked = arrival.track_at(Action::Generate.endpoint(), key);
    let work = async { Generation::start_on(&arrival.app, key, request, terms).await?.finish().await };
    let completion = tracked.run(work).await?;
    let choice = completion.choices.into_iter().next();
    let (text, reason) = choice.map_or((String::new(), FinishReason::Stop), |it| (it.text, it.finish_reason));
    head.insert("text_output".to_owned(), text.into());
    head.insert("details".to_owned(), json!({ "finish_reason": named(reason) }));
    Ok(Json(Value::Object(head)).into_response())
}

async fn stream(
    arrival: &Arrival,
    key: &str,
    request: DescribeRequest,
    terms: Terms,
    head: Map<String, Value>,
) -> Result<Response, ApiError> {
    let tracked = arrival.track_at(Action::GenerateStream.endpoint(), key);
    let keep_alive = arrival.app.config().keep_alive;
    let open =
        async { Generation::start_on(&arrival.app, key, request, terms).await?.opened(keep_alive).await };
    let mut generation = tracked.run(open).await?;
    Ok(sse::events(keep_alive, |writer| async move {
        let event = |text: &str| {
            let mut event = head.clone();
            event.insert("text_output".to_owned(), text.into());
            event
        };
        let mut told = 0;
        let work = async {
            while let Some(token) = generation.next().await {
                tracked.advance(1);
                if !token.text.is_empty() {
                    told += token.text.len();
                    writer.event(&event(&token.text)).await;
                }
            }
            generation.finish().await
        };
        match tracked.run(work).await {
            Ok(completion) => {
                // What was held back for a stop text comes with the end.
                let Some(choice) = completion.choices.into_iter().next() else { return };
                let mut last = event(choice.text.get(told..).unwrap_or_default());
                last.insert("details".to_owned(), json!({ "finish_reason": named(choice.finish_reason) }));
                writer.event(&last).await;
            }
            Err(error) => writer.event(&json!({ "error": error.message })).await,
        }
    }))
}

/// Why a text ended, as this extension calls it.
fn named(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}
