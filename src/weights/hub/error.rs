//! Why a hub did not provide a model.

use std::io;
use std::sync::Arc;

/// Why a hub did not provide a model. `what` is a model id, or a model id and a file.
///
/// Clones freely: callers that waited for one download all get its error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message describes its fields")]
pub enum HubError {
    #[error(
        "no network: {model} is not in the cache ({missing} is missing) and the network is off; unset HF_HUB_OFFLINE"
    )]
    Offline { model: String, missing: String },
    #[error("the hub has no {what}; check the name and the revision")]
    NotFound { what: String },
    #[error(
        "the hub does not give {what} to this user: it does not exist, or is private or gated; set HF_TOKEN"
    )]
    Unauthorized { what: String },
    #[error(
        "no network: the hub could not be reached for {what} in {attempts} attempts: {detail}; check the connection, the proxy and HF_ENDPOINT"
    )]
    Unreachable { what: String, attempts: u32, detail: String },
    #[error(
        "{what} could not be fetched in {attempts} attempts: {detail}; check the network and HF_ENDPOINT"
    )]
    Network { what: String, attempts: u32, detail: String },
    #[error("the hub answered {status} for {what}")]
    Status { what: String, status: u16 },
    #[error("{what} ended after {got} of {expected} bytes")]
    Truncated { what: String, got: u64, expected: u64 },
    #[error(
        "{what} does not have the digest that the hub announced; something between here and the hub alters it"
    )]
    Corrupt { what: String },
    #[error("the hub's answer for {what} cannot be used: {detail}")]
    BadReply { what: String, detail: &'static str },
    #[error(
        "the hub lists the file {name:?} in {model}, which would leave its folder; do not use this model"
    )]
    BadName { model: String, name: String },
    #[error("{model} changed on the hub while it was downloaded; run again, or name a commit after '@'")]
    Moved { model: String },
    #[error("{what} is being downloaded by another process that makes no progress; end it and run again")]
    Locked { what: String },
    #[error("{what} cannot be written to the cache")]
    Disk {
        what: String,
        #[source]
        source: Arc<io::Error>,
    },
}

impl HubError {
    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Network { .. }
            | Self::Truncated { .. }
            | Self::Corrupt { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// The error after the last attempt.
    pub(super) fn after(self, tried: u32) -> Self {
        match self {
            Self::Unreachable { what, detail, .. } => Self::Unreachable { what, attempts: tried, detail },
            Self::Network { what, detail, .. } => Self::Network { what, attempts: tried, detail },
            other => other,
        }
    }

    pub(super) fn disk(what: &str) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Disk { what: what.to_owned(), source: Arc::new(source) }
    }
}
