//! `POST /api/pull`: a model from the hub, and served from then on.
//!
//! A download goes on when whoever asked for it has gone: what is here of it is not fetched again.

use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::engine::{Capabilities, ModelOptions};
use crate::id::ByteSize;
use crate::pool::RegisterError;
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::arrival::Arrival;
use crate::server::directory::{Listing, Offer};
use crate::server::json_body::JsonBody;
use crate::server::sse;
use crate::weights::{DownloadProgress, HubError, ModelFiles, ModelId, ModelSource, WeightsError};

/// How often a download's progress is told.
const BEAT: Duration = Duration::from_millis(100);
/// When to ask again for what cannot be fetched now: sooner than a network is switched on, or another process is through,
/// it is of no use.
const RETRY_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(alias = "name")]
    model: String,
    stream: Option<bool>,
}

pub(super) async fn pull(arrival: Arrival, JsonBody(asked): JsonBody<Asked>) -> Result<Response, ApiError> {
    let app = arrival.app.clone();
    let (key, offer) = wanted(&app, &asked.model)?;
    let tracked = arrival.track(&key);
    let (told, mut lines) = unbounded_channel();
    let progress = Progress::new(told);
    let work = tokio::task::spawn_blocking(move || fetch(&app, &key, offer, &progress));
    if asked.stream == Some(false) {
        drop(lines);
        tracked.run(async { work.await? }).await?;
        return Ok(Json(json!({ "status": "success" })).into_response());
    }
    Ok(sse::pieces("application/x-ndjson", None, |writer| async move {
        let write = async {
            writer.line(&json!({ "status": "pulling manifest" })).await;
            tell(&writer, &mut lines).await;
            work.await?
        };
        let last = match tracked.run(write).await {
            Ok(()) => json!({ "status": "success" }),
            Err(error) => json!({ "error": error.message }),
        };
        writer.line(&last).await;
    }))
}

async fn tell(writer: &sse::Writer, lines: &mut UnboundedReceiver<Value>) {
    while let Some(told) = lines.recv().await {
        writer.line(&told).await;
    }
}

/// The key that a model will have, and where it comes from: a name that is offered, or an id on the hub, which may
/// have the hub's host before it. A stranger names no paths.
fn wanted(app: &App, model: &str) -> Result<(String, Offer), ApiError> {
    let name = model.strip_suffix(":latest").unwrap_or(model);
    if let Some(offer) = app.directory().offered(name) {
        return Ok((name.to_owned(), offer));
    }
    let hosts = ["https://huggingface.co/", "huggingface.co/", "hf.co/"];
    let id = hosts.iter().find_map(|host| name.strip_prefix(host)).unwrap_or(name);
    let id: ModelId = id.parse().map_err(|wrong| ApiError::invalid("model", format!("model: {wrong}")))?;
    Ok((id.to_string(), Offer::from(ModelSource::Hub(id))))
}

/// Fetches a model and registers it. One that is served already stays as it is, and so does what is said of it.
fn fetch(app: &App, key: &str, offer: Offer, progress: &Progress) -> Result<(), ApiError> {
    if !app.abilities(key).is_empty() {
        return Ok(());
    }
    let Offer { source, license, description } = offer;
    let files = source.resolve_with(app.directory().hub(), progress).map_err(failed)?;
    progress.say(json!({ "status": "registering" }));
    if let Err(error) = register(app, key, &files) {
        // Who pulled the same model at the same time may have been first.
        if !app.abilities(key).is_empty() {
            return Ok(());
        }
        return Err(match error {
            crate::Error::Weights(_) | crate::Error::Arch(_) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).code("unusable_model")
            }
            crate::Error::Register(RegisterError::ShuttingDown) => ApiError::draining(),
            other => other.into(),
        });
    }
    let size = match &files {
        ModelFiles::Folder(folder) => folder.size_on_disk(),
        ModelFiles::Gguf(file) => file.size_on_disk(),
    };
    // A path is nobody's business.
    let named = if let ModelSource::Hub(id) = &source { id.to_string() } else { key.to_owned() };
    let mut listing = Listing::new(named, size);
    (listing.license, listing.description) = (license, description);
    app.directory().put(key, listing);
    Ok(())
}

/// Errors name files by their model's folder, not by where that is.
fn register(app: &App, key: &str, files: &ModelFiles) -> Result<(), crate::Error> {
    let config = app.engine().key_config(Capabilities::of(files)?);
    app.engine().add_files_with(key, files.clone(), config, ModelOptions::default()).map(drop)
}

/// What a hub says is for the caller; what this machine's files say is not.
fn failed(error: WeightsError) -> ApiError {
    let WeightsError::Hub(error) = error else { return crate::Error::from(error).into() };
    let of = |status| ApiError::new(status, error.to_string()).code("hub");
    match &error {
        HubError::NotFound { .. } | HubError::Unauthorized { .. } => of(StatusCode::NOT_FOUND),
        HubError::Offline { .. } | HubError::Locked { .. } => {
            of(StatusCode::SERVICE_UNAVAILABLE).after(RETRY_AFTER)
        }
        HubError::Disk { .. } => crate::Error::from(WeightsError::from(error)).into(),
        _ => of(StatusCode::BAD_GATEWAY),
    }
}

/// Tells how downloads go, now and then.
#[derive(Debug)]
struct Progress {
    lines: UnboundedSender<Value>,
    under_way: Mutex<UnderWay>,
}

/// The file that is being fetched.
#[derive(Debug, Default)]
struct UnderWay {
    total: ByteSize,
    told: Option<Instant>,
}

impl Progress {
    fn new(lines: UnboundedSender<Value>) -> Self {
        Self { lines, under_way: Mutex::default() }
    }

    /// Nobody may listen any more, which is no reason to stop.
    fn say(&self, line: Value) {
        let _ = self.lines.send(line);
    }

    fn say_of(&self, file: &str, done: ByteSize, total: ByteSize) {
        let status = format!("pulling {file}");
        self.say(
            json!({ "status": status, "digest": file, "total": total.bytes(), "completed": done.bytes() }),
        );
    }
}

impl DownloadProgress for Progress {
    fn started(&self, file: &str, total: ByteSize) {
        *self.under_way.lock() = UnderWay { total, told: None };
        self.say_of(file, ByteSize::ZERO, total);
    }

    fn advanced(&self, file: &str, done: ByteSize) {
        let mut under_way = self.under_way.lock();
        if under_way.told.is_none_or(|told| told.elapsed() >= BEAT) {
            under_way.told = Some(Instant::now());
            self.say_of(file, done, under_way.total);
        }
    }

    fn finished(&self, file: &str) {
        let total = self.under_way.lock().total;
        self.say_of(file, total, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::server::ServerConfig;

    #[test]
    fn names_are_offered_or_ids_on_the_hub_and_never_paths() {
        let app = App::new(Engine::new().unwrap(), ServerConfig::default());
        let folder = ModelSource::Folder("/models/tiny".into());
        app.directory().offer([("tiny".to_owned(), folder.clone().into())]);
        let named = |name: &str| wanted(&app, name).ok().map(|(key, offer)| (key, offer.source));
        assert_eq!(named("tiny:latest"), Some(("tiny".to_owned(), folder)));
        for name in ["org/model", "hf.co/org/model", "https://huggingface.co/org/model:latest"] {
            assert_eq!(named(name).map(|(key, _)| key).as_deref(), Some("org/model"), "{name}");
        }
        let long = "a".repeat(300);
        for name in [
            "",
            "models",
            "/models/tiny",
            "../..",
            "org/../x",
            "./tiny",
            "org/mo\0del",
            "org/%2e%2e",
            "C:\\x",
            &long,
        ] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn what_a_hub_says_has_a_status() {
        let what = || "org/model".to_owned();
        let cases = [
            (HubError::NotFound { what: what() }, 404, false),
            (HubError::Unauthorized { what: what() }, 404, false),
            (HubError::Offline { model: what(), missing: "config.json".to_owned() }, 503, true),
            (HubError::Locked { what: what() }, 503, true),
            (HubError::Unreachable { what: what(), attempts: 3, detail: "refused".to_owned() }, 502, false),
            (HubError::Status { what: what(), status: 500 }, 502, false),
            (HubError::Corrupt { what: what() }, 502, false),
        ];
        for (error, status, later) in cases {
            let told = error.to_string();
            let failed = failed(error.into());
            assert_eq!((failed.status.as_u16(), failed.code), (status, Some("hub")), "{told}");
            assert_eq!((failed.retry_after.is_some(), failed.message), (later, told));
        }
        let full = std::io::Error::other("/models/cache is full");
        let failed = failed(HubError::Disk { what: what(), source: std::sync::Arc::new(full) }.into());
        assert_eq!(failed.status.as_u16(), 500);
        assert!(!failed.message.contains("/models"), "{}", failed.message);
    }

    #[test]
    fn progress_is_told_at_its_beginning_and_end() {
        let (told, mut lines) = unbounded_channel();
        let progress = Progress::new(told);
        progress.started("model.safetensors", ByteSize::new(9));
        progress.finished("model.safetensors");
        let told: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
        assert_eq!(told[0]["completed"], 0);
        assert_eq!((&told[1]["completed"], &told[1]["total"]), (&json!(9), &json!(9)));
        assert_eq!(told.len(), 2);
    }
}
