//! The Open Inference Protocol, version 2: what clients of `KServe` and Triton speak.
//!
//! | a model that | takes | gives |
//! | --- | --- | --- |
//! | embeds texts | `text` | `embedding`, FP32 `[n, d]` |
//! | embeds pictures | `image` | `embedding`, FP32 `[n, d]` |
//! | writes | `text_input`, or `prompt` | `text_output` |
//! | sees | `image` and `text_input` | `text_output` |
//! | draws | `prompt` | `image`, UINT8 `[n, h, w, 3]` |
//!
//! Texts are BYTES of the shape `[n]` or `[n, 1]`. Pictures are BYTES too, encoded as files are (in JSON, as base64 or in
//! `data:` URLs), or they are pixels, UINT8 `[h, w, 3]` or `[n, h, w, 3]`. For each text there is a picture, or there is
//! one text and it is about all of them.
//!
//! What else a request says is among its parameters, or is a tensor of one element: `max_tokens`, `temperature`, `top_k`,
//! `top_p`, `min_p`, `seed`, `stop`, `repetition_penalty`, `presence_penalty`, `frequency_penalty` of who writes;
//! `width`, `height`, `steps`, `guidance_scale`, `negative_prompt`, `seed` of who draws; `dimensions`, `normalize`,
//! `truncate`, `prompt_name` of who embeds. Where nothing is said, the likeliest tokens are written, at most 256. A text
//! is continued as it is; with `chat` it is a user's message, put into words by the model's template, as a question about
//! a picture is unless `chat` is false. `timeout` is in microseconds. `priority` 1 is the highest, and what names none is as if it
//! were between 8 and 9. Parameters that nobody knows are ignored; tensors are not.
//!
//! Tensors may be bytes after the JSON, in both directions, and a client says which of the answer's should be. There is
//! one version of each model, no sequences, no shared memory, no classification. A model is ready when it would be
//! served, also if its weights have yet to be loaded; the index of the repository says whether they are.

mod datatype;
mod elements;
mod generate;
mod infer;
mod inputs;
mod models;
mod output;
mod parameters;
mod path;
mod plan;
mod repository;
mod signature;
mod tensor;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get, post};
use serde_json::{Value, json};

use super::api_error::ApiError;
use super::app::App;
use super::arrival::Arrival;
use super::health::reasons;
use path::{Action, parse};

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/stats", get(all_stats))
        .route("/v2/models/{*rest}", get(tell).post(compute))
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{*rest}", post(repository::change))
        .route("/v2/{*rest}", any(async || ApiError::unknown_url()))
}

async fn server() -> Json<Value> {
    let extensions = [
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
        "statistics",
        "schedule_policy",
        "generate",
    ];
    Json(json!({ "name": "millpond", "version": env!("CARGO_PKG_VERSION"), "extensions": extensions }))
}

async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

async fn ready(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let unready = reasons(&app);
    if unready.is_empty() {
        return Ok(Json(json!({ "ready": true })));
    }
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, unready.join("; ")).code("not_ready"))
}

async fn all_stats(State(app): State<App>) -> Json<Value> {
    let all: Vec<_> = app.keys().iter().flat_map(|(key, _)| models::stats(&app, key)).collect();
    Json(json!({ "model_stats": all }))
}

/// What follows `/v2/models/`, as it was sent: axum's own parameters are decoded, and slashes look like slashes.
fn rest(request: &Request) -> &str {
    request.uri().path().strip_prefix("/v2/models/").unwrap_or_default()
}

async fn tell(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (model, action) = parse(rest(&request))?;
    if action.is_posted() {
        return Err(ApiError::wrong_method());
    }
    models::tell(&app, &model, action)
}

async fn compute(arrival: Arrival, request: Request) -> Result<Response, ApiError> {
    let (model, action) = parse(rest(&request))?;
    match action {
        Action::Infer => infer::infer(&arrival, &model, request).await,
        Action::Generate | Action::GenerateStream => {
            generate::generate(arrival, model, action, request).await
        }
        _ => Err(ApiError::wrong_method()),
    }
}
