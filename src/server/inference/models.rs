//! What is said of a model: what it takes and gives, whether it can be asked, what it has done.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::path::{Action, VERSION};
use super::signature::Signature;
use crate::engine::Capabilities;
use crate::metrics::HistogramSnapshot;
use crate::pool::KeyStatus;
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::health::unroutable;

/// Answers a question about `model`.
///
/// # Errors
///
/// 404 where there is no such model; 503 where it cannot be asked and that is the question.
pub(super) fn tell(app: &App, model: &str, action: Action) -> Result<Response, ApiError> {
    let key = app.find(Some(model), &Capabilities::ALL)?;
    Ok(match action {
        Action::Ready => {
            ready(app, &key)?;
            Json(json!({ "name": model, "ready": true })).into_response()
        }
        Action::Stats => Json(json!({ "model_stats": stats(app, &key) })).into_response(),
        Action::Config => Json(signature(app, &key).config(model)).into_response(),
        _ => Json(signature(app, &key).metadata(model)).into_response(),
    })
}

fn signature(app: &App, key: &str) -> Signature {
    let dimensions = app.engine().facts(key).iter().find_map(|facts| facts.dimensions);
    Signature::of(&app.abilities(key), dimensions)
}

/// Whether a request would be served. One whose weights are not loaded is: the request loads them.
fn ready(app: &App, key: &str) -> Result<(), ApiError> {
    let abilities = app.abilities(key).into_iter();
    let mut unable = abilities.flat_map(|capability| app.engine().pool_of(capability).unroutable());
    match unable.find(|(unable, _)| unable.as_str() == key).map(|(_, why)| unroutable(key, why)) {
        Some(reason) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason).code("not_ready")),
        None => Ok(()),
    }
}

/// A model's lane in each pool that has one.
pub(super) fn statuses(app: &App, key: &str) -> Vec<KeyStatus> {
    let of = |capability| app.engine().pool_of(capability).key_status(key);
    app.abilities(key).into_iter().filter_map(|capability| of(capability).ok()).collect()
}

/// What a model has done, once for each thing that it can do. Triton's figures that nobody measures here are left
/// out: how long inputs and outputs take, caches, and sizes of batches.
pub(super) fn stats(app: &App, key: &str) -> Vec<Value> {
    let all = statuses(app, key);
    all.iter().map(|status| told(key, status)).collect()
}

fn told(key: &str, status: &KeyStatus) -> Value {
    json!({
        "name": key,
        "version": VERSION,
        "inference_count": status.completed,
        "execution_count": status.run_time.count,
        "inference_stats": {
            "success": {
                "count": status.completed,
                "ns": nanoseconds(&status.queue_time).saturating_add(nanoseconds(&status.run_time)),
            },
            "fail": { "count": status.failed + status.canceled },
            "queue": { "count": status.queue_time.count, "ns": nanoseconds(&status.queue_time) },
            "compute_infer": { "count": status.run_time.count, "ns": nanoseconds(&status.run_time) },
        },
    })
}

fn nanoseconds(times: &HistogramSnapshot) -> u64 {
    u64::try_from(times.total.as_nanos()).unwrap_or(u64::MAX)
}
