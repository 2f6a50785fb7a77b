//! Which models there are, and loading and unloading them.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::models::statuses;
use super::path::{VERSION, decoded};
use crate::server::admin::{Order, order};
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::json_body::{parse, read_as};

#[derive(Default, Deserialize)]
struct Wanted {
    /// Only those that are loaded.
    #[serde(default)]
    ready: bool,
}

#[derive(Default, Deserialize)]
struct Change {
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// The body, which may be empty.
async fn body<T: DeserializeOwned + Default + Send + 'static>(
    app: &App,
    request: Request,
) -> Result<T, ApiError> {
    let depth = app.config().limits.depth;
    let read = move |body: &Bytes| if body.is_empty() { Ok(T::default()) } else { parse(body, depth) };
    read_as(request, app, read).await
}

/// All models, and whether their weights are loaded.
pub(super) async fn index(State(app): State<App>, request: Request) -> Result<Json<Value>, ApiError> {
    let Wanted { ready } = body(&app, request).await?;
    let all = app.keys().into_iter().map(|(key, _)| {
        let loaded = statuses(&app, &key).iter().any(|status| status.ready > 0);
        (key, loaded)
    });
    let told = all.filter(|(_, loaded)| *loaded || !ready).map(|(key, loaded)| {
        let (state, reason) =
            if loaded { ("READY", "") } else { ("UNAVAILABLE", "its first request loads it") };
        json!({ "name": key, "version": VERSION, "state": state, "reason": reason })
    });
    Ok(Json(told.collect()))
}

/// Loads or unloads a model: `{model}/load`, `{model}/unload`.
pub(super) async fn change(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let path = request.uri().path();
    let path = path.strip_prefix("/v2/repository/models/").unwrap_or_default();
    let (name, wanted) = path.rsplit_once('/').unwrap_or_default();
    let change = match wanted {
        "load" => Order::Load,
        "unload" => Order::Unload,
        _ => {
            return Err(ApiError::new(
                axum::http::StatusCode::NOT_FOUND,
                "a model can be loaded and unloaded here",
            ));
        }
    };
    let name = decoded(name)?;
    let Change { parameters } = body(&app, request).await?;
    // What a model is can only be said where the server is configured.
    if let Some(own) = parameters.keys().find(|name| *name == "config" || name.starts_with("file:")) {
        let param: String = format!("parameters.{own}").chars().take(128).collect();
        return Err(ApiError::invalid(
            param,
            "a model's files and configuration are not taken from a request",
        ));
    }
    order(app, &name, change).await?;
    Ok(().into_response())
}
