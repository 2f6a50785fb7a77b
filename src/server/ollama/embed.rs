//! `POST /api/embed` and, for clients from before it, `/api/embeddings`.

use std::time::{Duration, Instant};

use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::asking::{keep, loaded};
use super::keep_alive::{Going, KeepAlive};
use super::speaker::nanoseconds;
use crate::capability::{EmbedRequest, Embedding, Overlong};
use crate::engine::Capabilities;
use crate::server::api_error::ApiError;
use crate::server::arrival::Arrival;
use crate::server::json_body::JsonBody;
use crate::server::many::answer_all;

/// How many texts one request may have.
const MOST_TEXTS: usize = 2048;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    model: String,
    #[serde(default)]
    input: Input,
    truncate: Option<bool>,
    dimensions: Option<usize>,
    keep_alive: Option<KeepAlive>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Several(Vec<String>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Embedded {
    model: String,
    embeddings: Vec<Vec<f32>>,
    total_duration: Value,
    load_duration: Value,
    prompt_eval_count: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct AskedOnce {
    model: String,
    #[serde(default)]
    prompt: String,
    keep_alive: Option<KeepAlive>,
}

/// Vectors of length 1, as Ollama promises.
pub(super) async fn embed(
    arrival: Arrival,
    JsonBody(asked): JsonBody<Asked>,
) -> Result<Json<Embedded>, ApiError> {
    let began = Instant::now();
    let Asked { model, input, truncate, dimensions, keep_alive } = asked;
    let texts = match input {
        Input::One(text) if text.is_empty() => Vec::new(),
        Input::One(text) => vec![text],
        Input::Several(texts) => texts,
    };
    let overlong = if truncate == Some(false) { Overlong::Refuse } else { Overlong::Cut };
    let requests = texts.into_iter().map(|text| {
        let mut request = EmbedRequest::new(text).overlong(overlong).normalize(true);
        request.dimensions = dimensions;
        request
    });
    let (all, loading) = vectors(&arrival, &model, requests.collect(), keep_alive).await?;
    let prompt_eval_count = all.iter().map(|embedding| embedding.tokens).sum();
    Ok(Json(Embedded {
        model,
        embeddings: all.into_iter().map(|embedding| embedding.values).collect(),
        total_duration: nanoseconds(began.elapsed()),
        load_duration: nanoseconds(loading),
        prompt_eval_count,
    }))
}

/// One vector, as the model makes it.
pub(super) async fn embed_one(
    arrival: Arrival,
    JsonBody(asked): JsonBody<AskedOnce>,
) -> Result<Json<Value>, ApiError> {
    let AskedOnce { model, prompt, keep_alive } = asked;
    let requests = if prompt.is_empty() { Vec::new() } else { vec![EmbedRequest::new(prompt)] };
    let (all, _) = vectors(&arrival, &model, requests, keep_alive).await?;
    let vector = all.into_iter().next().map(|embedding| embedding.values).unwrap_or_default();
    Ok(Json(json!({ "embedding": vector })))
}

/// The vectors, and how long the model took to load. Without texts the model is loaded, or let go.
async fn vectors(
    arrival: &Arrival,
    model: &str,
    requests: Vec<EmbedRequest>,
    keep_alive: Option<KeepAlive>,
) -> Result<(Vec<Embedding>, Duration), ApiError> {
    if requests.len() > MOST_TEXTS {
        let message = format!("input: {} texts are more than {MOST_TEXTS}", requests.len());
        return Err(ApiError::invalid("input", message));
    }
    let app = &arrival.app;
    let key = app.find(Some(model), &[Capabilities::TextEmbedding])?;
    let tracked = arrival.track(&key);
    let keep_alive = keep_alive.filter(|_| arrival.may_steer());
    let _going = Going::after(keep_alive, app, &key);
    let work = async {
        if requests.is_empty() && keep_alive == Some(KeepAlive::Unload) {
            return Ok((Vec::new(), Duration::ZERO));
        }
        let loading = loaded(app, &key, Capabilities::TextEmbedding).await?;
        if let Some(KeepAlive::For(_)) = keep_alive {
            keep(app, &key, keep_alive).await?;
        }
        let all = answer_all(app, app.engine().text_embedding(), &key, requests.into_iter()).await?;
        Ok((all, loading))
    };
    tracked.run(work).await
}
