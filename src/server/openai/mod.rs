//! OpenAI's API: embeddings, conversations, completions, pictures, and the list of models.
//!
//! Fields that are not known are passed over, as OpenAI's clients send ever new ones; a field that is known, would
//! change the answer, and is not supported is refused by name. What a client leaves out is as OpenAI has it, but for:
//! without `max_tokens` a conversation's answer goes on until the model ends it or its context is full, and the seed is
//! another one each time. Sampling is at temperature 1 unless the client says otherwise.

mod chat;
mod completions;
mod embeddings;
mod images;
mod items;
mod logprobs;
mod models;
mod sampling;
mod usage;

use std::time::{SystemTime, UNIX_EPOCH};

use super::app::App;

pub(super) fn routes() -> axum::Router<App> {
    axum::Router::new()
        .merge(models::routes())
        .merge(embeddings::routes())
        .merge(chat::routes())
        .merge(completions::routes())
        .merge(images::routes())
}

/// What answers say that they come from.
const FINGERPRINT: &str = concat!("millpond-", env!("CARGO_PKG_VERSION"));

/// The head of an answer, or of each piece of one.
#[derive(Clone, Debug)]
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    /// An answer by the model `key`, made now.
    fn new(prefix: &str, key: String) -> Self {
        Self { id: format!("{prefix}-{}", random_name()), created: now(), model: key }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A name that nothing else has.
fn random_name() -> String {
    format!("{:024x}", fastrand::u128(..) >> 32)
}
