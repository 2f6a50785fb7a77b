//! A request as it comes in, before anything is known of it but where it goes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;

use super::api_error::ApiError;
use super::app::App;
use super::in_flight::Tracked;

/// The name of one request: the caller's own `x-request-id`, or a new one.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Peer {
    /// Whether it is on this machine.
    pub(super) fn is_local(self) -> bool {
        match self.0.ip() {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => address.to_canonical().is_loopback(),
        }
    }
}

/// What a handler needs to know of a request beside its body.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) app: App,
    id: Arc<str>,
    endpoint: String,
    /// Whether it comes from this machine.
    local: bool,
}

impl Arrival {
    /// Lists the request under the model that it names.
    pub(super) fn track(&self, model: &str) -> Tracked {
        self.track_at(&self.endpoint, model)
    }

    /// Whether its sender may say what the server keeps loaded: with a key, or from this machine.
    pub(super) fn may_steer(&self) -> bool {
        self.local || !self.app.config().keys.is_empty()
    }

    /// Lists the request under `endpoint`, of a route that many endpoints share.
    pub(super) fn track_at(&self, endpoint: &str, model: &str) -> Tracked {
        self.app.in_flight().begin(self.id.clone(), endpoint, model)
    }
}

impl FromRequestParts<App> for Arrival {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let extensions = &parts.extensions;
        let id = extensions.get::<RequestId>().map_or_else(|| "unnamed".into(), |id| id.0.clone());
        let endpoint = extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
        let local = extensions.get::<Peer>().copied().is_some_and(Peer::is_local);
        Ok(Self { app: app.clone(), id, endpoint, local })
    }
}
