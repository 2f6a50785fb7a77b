//! Whether the server lives, and whether it can serve.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::app::App;
use crate::engine::Capabilities;
use crate::pool::Unroutable;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new()
        .route("/health", get(ready))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/ping", get(live))
        .route("/version", get(version))
}

/// The event loop answers.
async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// Without keys everybody may know what is wrong; with them whoever asks need not have one.
async fn ready(State(app): State<App>) -> Response {
    let unready = reasons(&app);
    if unready.is_empty() {
        return Json(json!({ "status": "ready" })).into_response();
    }
    let told = if app.config().keys.is_empty() {
        json!({ "status": "unready", "reasons": unready })
    } else {
        json!({ "status": "unready" })
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(told)).into_response()
}

/// Why the server cannot serve everything it should; nothing if it can. A key without workers loads with its next
/// request.
pub(super) fn reasons(app: &App) -> Vec<String> {
    let mut reasons = Vec::from_iter(app.is_draining().then(|| "the server is stopping".to_owned()));
    for capability in Capabilities::ALL {
        let pool = app.engine().pool_of(capability);
        reasons.extend(pool.is_shutting_down().then(|| format!("the pool of {capability} has stopped")));
        reasons.extend(pool.unroutable().into_iter().map(|(key, why)| unroutable(key.as_str(), why)));
    }
    reasons
}

/// Why no request of the key would be served.
pub(super) fn unroutable(key: &str, why: Unroutable) -> String {
    match why {
        Unroutable::CircuitOpen => format!("{key} failed too often and rests"),
        Unroutable::NoWorkerAnswers => format!("no worker of {key} answers"),
    }
}
