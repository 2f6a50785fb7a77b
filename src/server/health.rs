//! Whether the server lives, and whether it can serve.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::app::App;
use crate::engine::EngineStatus;
use crate::pool::{KeyStatus, WorkerState};

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

async fn ready(State(app): State<App>) -> Response {
    let unready = reasons(&app);
    if unready.is_empty() {
        return Json(json!({ "status": "ready" })).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unready", "reasons": unready })))
        .into_response()
}

/// Why the server cannot serve everything it should; nothing if it can.
pub(super) fn reasons(app: &App) -> Vec<String> {
    let draining = app.is_draining().then(|| "the server is stopping".to_owned());
    draining.into_iter().chain(unable(&app.engine().status())).collect()
}

fn unable(status: &EngineStatus) -> impl Iterator<Item = String> {
    status.pools.iter().flat_map(|pool| {
        let stopped = (!pool.running).then(|| format!("the pool of {} has stopped", pool.name));
        stopped.into_iter().chain(pool.keys.iter().filter_map(unroutable))
    })
}

/// Why no request of the key would be served. A key without workers loads with its next request.
pub(super) fn unroutable(key: &KeyStatus) -> Option<String> {
    if key.circuit_open_for.is_some() {
        return Some(format!("{} failed too often and rests", key.key));
    }
    let dead =
        !key.workers.is_empty() && key.workers.iter().all(|worker| worker.state == WorkerState::Failed);
    dead.then(|| format!("no worker of {} answers", key.key))
}
