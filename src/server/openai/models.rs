//! `GET /v1/models`: what can be asked for.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::Serialize;

use super::now;
use crate::engine::Capabilities;
use crate::server::api_error::ApiError;
use crate::server::app::App;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new().route("/v1/models", get(list)).route("/v1/models/{*id}", get(retrieve))
}

#[derive(Debug, Serialize)]
struct List {
    object: &'static str,
    data: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
    capabilities: Vec<&'static str>,
    /// The most tokens that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<usize>,
    /// How many numbers its embeddings have.
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
    status: Status,
}

/// Whether a request would find it loaded.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Loaded,
    Cold,
}

async fn list(State(app): State<App>) -> Json<List> {
    let data = app.keys().into_iter().map(|(key, does)| entry(&app, key, &does)).collect();
    Json(List { object: "list", data })
}

async fn retrieve(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Entry>, ApiError> {
    // What is no text is no model's name.
    let Path(id) = id.map_err(|_| ApiError::no_model("\u{fffd}"))?;
    let key = app.find(Some(&id), &Capabilities::ALL)?;
    let does = app.abilities(&key);
    Ok(Json(entry(&app, key, &does)))
}

fn entry(app: &App, key: String, does: &[Capabilities]) -> Entry {
    let listing = app.directory().get(&key);
    let loaded = does.iter().any(|capability| app.engine().pool_of(*capability).has_workers(&key));
    let owner = listing.as_ref().and_then(|listing| Some(listing.source.split_once('/')?.0.to_owned()));
    Entry {
        object: "model",
        created: listing.map_or_else(|| now().saturating_sub(app.began().elapsed().as_secs()), |it| it.added),
        owned_by: owner.unwrap_or_else(|| "millpond".to_owned()),
        context_length: app.engine().context_length(&key),
        dimensions: app.engine().facts(&key).iter().find_map(|facts| facts.dimensions),
        capabilities: does.iter().map(|capability| capability.name()).collect(),
        status: if loaded { Status::Loaded } else { Status::Cold },
        id: key,
    }
}
