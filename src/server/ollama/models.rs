//! Which models there are, which are loaded, and what they are.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::moment::Moment;
use crate::engine::{Capabilities, ModelFacts};
use crate::id::ByteSize;
use crate::pool::KeyStatus;
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::json_body::JsonBody;

/// What Ollama says of a model's kind; what is not known is empty.
#[derive(Debug, Serialize)]
struct Details {
    parent_model: &'static str,
    format: &'static str,
    family: String,
    families: Vec<String>,
    parameter_size: &'static str,
    quantization_level: String,
}

impl Details {
    fn of(facts: &[ModelFacts]) -> Self {
        let first = facts.first();
        let family = first.map(|facts| facts.architecture.clone()).unwrap_or_default();
        let quantization_level = first.map(|facts| facts.dtype.to_uppercase()).unwrap_or_default();
        let format = if quantization_level.starts_with('Q') { "gguf" } else { "safetensors" };
        let families = if family.is_empty() { Vec::new() } else { vec![family.clone()] };
        Self { parent_model: "", format, family, families, parameter_size: "", quantization_level }
    }
}

/// When a model became known, if anybody said so, else when the server did.
fn modified(app: &App, key: &str) -> Moment {
    let added =
        app.directory().get(key).map(|listing| Moment::since_1970(Duration::from_secs(listing.added)));
    added.unwrap_or_else(|| Moment::before_now(app.began().elapsed()))
}

/// All models.
pub(super) async fn tags(State(app): State<App>) -> Json<Value> {
    let all = app.keys().into_iter().map(|(key, does)| {
        let facts = app.engine().facts(&key);
        json!({
            "name": key,
            "model": key,
            "modified_at": modified(&app, &key),
            "size": app.directory().get(&key).map_or(0, |listing| listing.size.bytes()),
            "digest": "",
            "details": Details::of(&facts),
            "capabilities": able(&does, &facts),
        })
    });
    Json(json!({ "models": all.collect::<Vec<_>>() }))
}

/// The models that are loaded, and until when.
pub(super) async fn ps(State(app): State<App>) -> Json<Value> {
    let now = Moment::now();
    let pools = app.engine().status().pools;
    let mut loaded = BTreeMap::<&str, Loaded>::new();
    for status in pools.iter().flat_map(|pool| &pool.keys).filter(|key| key.ready > 0) {
        loaded.entry(status.key.as_str()).or_default().add(status);
    }
    let all = loaded.into_iter().map(|(key, Loaded { size, left })| {
        let facts = app.engine().facts(key);
        json!({
            "name": key,
            "model": key,
            "size": size.bytes(),
            "digest": "",
            "details": Details::of(&facts),
            "expires_at": now.after(left),
            "size_vram": 0,
            "context_length": app.engine().context_length(key),
        })
    });
    Json(json!({ "models": all.collect::<Vec<_>>() }))
}

/// What a model that is loaded holds, all that it does taken together.
#[derive(Debug, Default)]
struct Loaded {
    size: ByteSize,
    /// How much longer some of it stays.
    left: Duration,
}

impl Loaded {
    fn add(&mut self, status: &KeyStatus) {
        self.size = self.size.saturating_add(status.memory);
        self.left = self.left.max(left(status));
    }
}

/// How much longer a model stays if nobody asks it anything.
fn left(status: &KeyStatus) -> Duration {
    let keep_alive = status.keep_alive.filter(|_| !status.pinned).unwrap_or(Duration::MAX);
    let idle = status.workers.iter().map(|worker| worker.idle).min().unwrap_or_default();
    keep_alive.saturating_sub(idle)
}

#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    #[serde(alias = "name")]
    model: String,
}

/// One model.
pub(super) async fn show(
    State(app): State<App>,
    JsonBody(Shown { model }): JsonBody<Shown>,
) -> Result<Json<Value>, ApiError> {
    let key = app.find(Some(&model), &Capabilities::ALL)?;
    let facts = app.engine().facts(&key);
    let listing = app.directory().get(&key);
    Ok(Json(json!({
        "license": listing.as_ref().and_then(|listing| listing.license.clone()).unwrap_or_default(),
        "modelfile": "",
        "parameters": "",
        "template": "",
        "description": listing.as_ref().and_then(|listing| listing.description.clone()),
        "details": Details::of(&facts),
        "model_info": info(&facts),
        "capabilities": able(&app.abilities(&key), &facts),
        "modified_at": modified(&app, &key),
    })))
}

/// What a model's configuration says, under the names that Ollama has for it.
fn info(facts: &[ModelFacts]) -> Map<String, Value> {
    let mut info = Map::new();
    let Some(first) = facts.first() else { return info };
    let family = &first.architecture;
    info.insert("general.architecture".to_owned(), family.as_str().into());
    if let Some(length) = facts.iter().find_map(|facts| facts.context_length) {
        info.insert(format!("{family}.context_length"), length.into());
    }
    if let Some(dimensions) = facts.iter().find_map(|facts| facts.dimensions) {
        info.insert(format!("{family}.embedding_length"), dimensions.into());
    }
    info
}

/// What a model can do, in Ollama's words, and in ours where it has none.
fn able(does: &[Capabilities], facts: &[ModelFacts]) -> Vec<&'static str> {
    let mut able = Vec::new();
    for capability in does {
        able.extend(match capability {
            Capabilities::TextEmbedding => &["embedding"][..],
            Capabilities::TextToText => &["completion"],
            Capabilities::Vision => &["completion", "vision"],
            Capabilities::ImageEmbedding => &["image-embedding"],
            Capabilities::TextToImage => &["image"],
        });
    }
    if facts.iter().any(|facts| facts.knows_tools) {
        able.push("tools");
    }
    able.dedup();
    able
}

/// The version of Ollama whose API this is.
pub(super) async fn version() -> Json<Value> {
    Json(json!({ "version": "0.12.0", "millpond": env!("CARGO_PKG_VERSION") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_have_ollamas_names() {
        use Capabilities::{ImageEmbedding, TextEmbedding, TextToText, Vision};

        assert_eq!(able(&[TextToText, Vision], &[]), ["completion", "vision"]);
        assert_eq!(able(&[TextEmbedding, ImageEmbedding], &[]), ["embedding", "image-embedding"]);
    }
}
