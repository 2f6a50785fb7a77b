//! What the pools and the server are doing, as JSON, and how to stop a request.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use serde::Serialize;
use serde_json::{Value, json};

use super::api_error::ApiError;
use super::app::App;
use super::in_flight::RequestStatus;
use crate::engine::EngineStatus;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new()
        .route("/pools", get(pools))
        .route("/requests", get(requests))
        .route("/requests/{id}", delete(cancel))
        .route("/requests/{id}/cancel", post(cancel))
}

/// The server at one moment.
#[derive(Debug, Serialize)]
pub(super) struct ServerStatus {
    pub(super) version: &'static str,
    /// How long it has been up.
    pub(super) uptime: Duration,
    /// Whether it is stopping.
    pub(super) draining: bool,
    #[serde(flatten)]
    pub(super) engine: EngineStatus,
    pub(super) requests: Vec<RequestStatus>,
}

impl ServerStatus {
    pub(super) fn of(app: &App) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime: app.began().elapsed(),
            draining: app.is_draining(),
            engine: app.engine().status(),
            requests: app.in_flight().list(),
        }
    }
}

async fn pools(State(app): State<App>) -> Json<ServerStatus> {
    Json(ServerStatus::of(&app))
}

async fn requests(State(app): State<App>) -> Json<Vec<RequestStatus>> {
    Json(app.in_flight().list())
}

async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    match app.in_flight().cancel(&id) {
        0 => Err(ApiError::new(StatusCode::NOT_FOUND, "no request of this id is under way")),
        canceled => Ok(Json(json!({ "canceled": canceled }))),
    }
}
