//! Steering the pools: load, unload, pin, resize.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api_error::ApiError;
use super::app::App;
use super::json_body::JsonBody;
use crate::engine::Capabilities;
use crate::pool::PoolError;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new()
        .route("/admin/load", post(load))
        .route("/admin/unload", post(unload))
        .route("/admin/pin", post(pin))
        .route("/admin/unpin", post(unpin))
        .route("/admin/resize", post(resize))
}

/// Which model is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    model: String,
    /// One of the things it can do. Default: all of them.
    capability: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    model: String,
    capability: Option<String>,
    workers: usize,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Load,
    Unload,
    Pin(bool),
    Resize(usize),
    /// How long it may be idle.
    KeepAlive(Duration),
}

/// The most workers that a key may be asked to have.
const MOST_WORKERS: usize = 64;

async fn load(State(app): State<App>, JsonBody(target): JsonBody<Target>) -> Result<Json<Value>, ApiError> {
    give(app, target, Order::Load).await
}

async fn unload(State(app): State<App>, JsonBody(target): JsonBody<Target>) -> Result<Json<Value>, ApiError> {
    give(app, target, Order::Unload).await
}

async fn pin(State(app): State<App>, JsonBody(target): JsonBody<Target>) -> Result<Json<Value>, ApiError> {
    give(app, target, Order::Pin(true)).await
}

async fn unpin(State(app): State<App>, JsonBody(target): JsonBody<Target>) -> Result<Json<Value>, ApiError> {
    give(app, target, Order::Pin(false)).await
}

async fn resize(State(app): State<App>, JsonBody(resize): JsonBody<Resize>) -> Result<Json<Value>, ApiError> {
    let Resize { model, capability, workers } = resize;
    if !(1..=MOST_WORKERS).contains(&workers) {
        return Err(ApiError::invalid("workers", format!("{workers} is not in 1..={MOST_WORKERS}")));
    }
    give(app, Target { model, capability }, Order::Resize(workers)).await
}

/// Carries `order` out for everything that `model` can do. Waits for loads, on a thread that may wait.
pub(super) async fn order(app: App, model: &str, order: Order) -> Result<(), ApiError> {
    let target = Target { model: model.to_owned(), capability: None };
    give(app, target, order).await.map(drop)
}

/// Carries an order out for each thing that the model can do. Waits for loads, on a thread that may wait.
async fn give(app: App, target: Target, order: Order) -> Result<Json<Value>, ApiError> {
    let wanted = match &target.capability {
        Some(name) => {
            vec![name.parse().map_err(|unknown| ApiError::invalid("capability", format!("{unknown}")))?]
        }
        None => Capabilities::ALL.to_vec(),
    };
    let key = app.find(Some(&target.model), &wanted)?;
    let able: Vec<_> = wanted.into_iter().filter(|capability| app.can(&key, *capability)).collect();
    let work = move || able.into_iter().try_for_each(|capability| carry_out(&app, &key, capability, order));
    tokio::task::spawn_blocking(work).await??;
    Ok(Json(json!({ "done": true })))
}

/// Carries an order out for one thing that the model `key` can do. Waits for loads.
pub(super) fn carry_out(
    app: &App,
    key: &str,
    capability: Capabilities,
    order: Order,
) -> Result<(), PoolError> {
    let pool = app.engine().pool_of(capability);
    match order {
        Order::Load => pool.preload(key),
        Order::Unload => pool.unload(key),
        Order::Pin(pinned) => pool.pin(key, pinned),
        Order::Resize(workers) => pool.resize(key, workers),
        Order::KeepAlive(idle) => pool.keep_alive(key, idle),
    }
}
