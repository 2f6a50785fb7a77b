//! Ollama's API, over the models that are served here.
//!
//! Names are the server's own; `:latest` behind one is passed over. What a client leaves out of `options` is as Ollama
//! has it: temperature 0.8, `top_k` 40, `top_p` 0.9, another seed each time, and `stream` is on. Two things differ.
//! `repeat_penalty` is off unless it is given: Ollama's looks back 64 tokens, while penalties here look at all of the
//! prompt too, where its 1.1 would forbid an answer the words of its question. And `num_predict` that is absent, or not
//! positive, means as many tokens as the model has room for.
//!
//! What is passed over: what `options` say of how Ollama loads and runs models (`num_ctx`, `num_gpu` and the like; the
//! context is the model's), `repeat_last_n`, and `keep_alive` of callers who may not steer the server. What is refused,
//! by name: `suffix`, `template`, `context`, `logprobs`, Mirostat, typical sampling, and changing what models there are
//! other than by `pull`: deleting files is for the command.
//!
//! Durations are measured: `load_duration` is what loading took, `prompt_eval_duration` lasts from then to the first
//! token, the wait for a worker included, and `eval_duration` from there to the last.

mod asking;
mod chat;
mod embed;
mod generate;
mod keep_alive;
mod models;
mod moment;
mod options;
mod pull;
mod speaker;

use axum::http::StatusCode;
use axum::routing::{any, get, post};

use super::api_error::ApiError;
use super::app::App;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new()
        .route("/api/generate", post(generate::generate))
        .route("/api/chat", post(chat::chat))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embed_one))
        .route("/api/tags", get(models::tags))
        .route("/api/ps", get(models::ps))
        .route("/api/show", post(models::show))
        .route("/api/version", get(models::version))
        .route("/api/pull", post(pull::pull))
        .route("/api/delete", any(not_here))
        .route("/api/create", any(not_here))
        .route("/api/copy", any(not_here))
        .route("/api/push", any(not_here))
        .route("/api/blobs/{digest}", any(not_here))
        .route("/api/{*rest}", any(async || ApiError::unknown_url()))
}

async fn not_here() -> ApiError {
    let message =
        "models are added by /api/pull and by the server's configuration, and removed by `millpond rm`";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, message).code("not_implemented")
}
