//! `POST /v1/embeddings`.
//!
//! An item of the input is a text, a list of tokens, or a picture: `{"image": "data:..."}`. A text that is longer than
//! the model reads is cut, unless `truncate` is false. Of `prompt_name` (or `input_type`) the model's own files say
//! what it puts before a text. Vectors are scaled as the model's files say; `dimensions` keeps the first so many
//! numbers, of models that were trained for it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::items::{Item, Items};
use crate::capability::{EmbedImageRequest, EmbedRequest, Embedding, ImageVector, Overlong};
use crate::engine::Capabilities;
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::arrival::Arrival;
use crate::server::image_url::{few_enough, picture};
use crate::server::in_flight::Tracked;
use crate::server::json_body::JsonBody;
use crate::server::many::answer_all;

/// The most items of a request.
const MOST_ITEMS: usize = 2048;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new().route("/v1/embeddings", post(embeddings))
}

#[derive(Debug, Deserialize)]
struct EmbeddingsRequest {
    model: Option<String>,
    input: Items<MOST_ITEMS>,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
    truncate: Option<bool>,
    prompt_name: Option<String>,
    /// The same, as others call it.
    input_type: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    #[default]
    Float,
    /// Little-endian numbers of 32 bits.
    Base64,
}

#[derive(Debug, Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry>,
    model: &'a str,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

async fn embeddings(
    arrival: Arrival,
    JsonBody(request): JsonBody<EmbeddingsRequest>,
) -> Result<Response, ApiError> {
    let app = &arrival.app;
    let key = find(app, &request)?;
    let tracked = arrival.track(&key);
    let encoding = request.encoding_format.unwrap_or_default();
    let (vectors, tokens) = tracked.run(embed(app, &tracked, &key, request)).await.map_err(as_said)?;
    let data = vectors.into_iter().enumerate().map(|(index, vector)| {
        let embedding = match encoding {
            Encoding::Float => Vector::Float(vector),
            Encoding::Base64 => Vector::Base64(base64_of(&vector)),
        };
        Entry { object: "embedding", index, embedding }
    });
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    let list = List { object: "list", data: data.collect(), model: &key, usage };
    Ok(Json(list).into_response())
}

/// The model that embeds all of the input: one that does pictures and texts both, where there are both.
fn find(app: &App, request: &EmbeddingsRequest) -> Result<String, ApiError> {
    let Items(items) = &request.input;
    let pictures = items.iter().any(Item::is_picture);
    let texts = items.iter().any(|item| !item.is_picture());
    let model = request.model.as_deref();
    match (texts, pictures) {
        (_, false) => app.find(model, &[Capabilities::TextEmbedding]),
        (false, true) => app.find(model, &[Capabilities::ImageEmbedding]),
        (true, true) => {
            let key = app.find(model, &[Capabilities::ImageEmbedding])?;
            app.find(Some(&key), &[Capabilities::TextEmbedding])
        }
    }
}

/// The vector of each item, and how many tokens were read.
async fn embed(
    app: &App,
    tracked: &Tracked,
    key: &str,
    request: EmbeddingsRequest,
) -> Result<(Vec<Vec<f32>>, usize), ApiError> {
    let EmbeddingsRequest { input: Items(items), dimensions, truncate, prompt_name, input_type, .. } =
        request;
    let prompt_name = prompt_name.or(input_type);
    let overlong = if truncate.unwrap_or(true) { Overlong::Cut } else { Overlong::Refuse };
    let is_picture: Vec<_> = items.iter().map(Item::is_picture).collect();
    if items.iter().any(Item::is_empty) {
        return Err(ApiError::invalid("input", "one of the texts is empty"));
    }
    if is_picture.contains(&true) && dimensions.is_some() {
        return Err(ApiError::invalid("dimensions", "a picture's vector keeps all of its numbers"));
    }
    few_enough("input", items.iter().filter_map(Item::picture))?;
    let (mut texts, mut pictures) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        let mut request = match item {
            Item::Text(text) => EmbedRequest::new(text),
            Item::Tokens(ids) => EmbedRequest::tokens(ids),
            Item::Picture(url) => {
                let image = picture(app, "input", url).await?;
                pictures.push(EmbedImageRequest::new(image));
                continue;
            }
        };
        (request.overlong, request.dimensions) = (overlong, dimensions);
        request.prompt_name.clone_from(&prompt_name);
        texts.push(request);
    }
    let engine = app.engine();
    let texts = answer_all(app, engine.text_embedding(), key, texts.into_iter()).await?;
    let pictures = answer_all(app, engine.image_embedding(), key, pictures.into_iter()).await?;
    let tokens = texts.iter().map(|text: &Embedding| text.tokens).sum();
    tracked.advance(tokens as u64);
    let mut texts = texts.into_iter().map(|text| text.values);
    let mut pictures = pictures.into_iter().map(|picture: ImageVector| picture.values);
    let vectors = is_picture.into_iter().filter_map(|is| if is { pictures.next() } else { texts.next() });
    Ok((vectors.collect(), tokens))
}

/// The error with the name that the wrong field has in a request to this endpoint.
fn as_said(mut error: ApiError) -> ApiError {
    if matches!(error.param.as_deref(), Some("text" | "image")) {
        error.param = Some("input".to_owned());
    }
    error
}

fn base64_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_clients_read_it() {
        assert_eq!(base64_of(&[0.1, -0.2, 0.3]), "zczMPc3MTL6amZk+");
        assert_eq!(base64_of(&[]), "");
    }
}
