//! How a request fails, as its caller sees it.
//!
//! Handlers return an [`ApiError`]; it becomes a body in the shape of OpenAI. The dialects that say less get theirs
//! from [`reshape`]. What a message says is about the request: no paths, no addresses, no causes inside of the
//! machine, which go to the log.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinError;

use crate::capability::{InvalidRequest, ModelError};
use crate::pool::{NoWorkers, PoolError};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status of the answer.
    pub status: StatusCode,
    /// What kind of error it is, in OpenAI's words.
    pub kind: ErrorKind,
    /// A short name that never changes.
    pub code: Option<&'static str>,
    /// The field of the request that is wrong.
    pub param: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// OpenAI's kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is wrong.
    InvalidRequestError,
    /// Who is it?
    AuthenticationError,
    /// They may not.
    PermissionError,
    /// Too much at once.
    RateLimitError,
    /// The server's fault.
    ServerError,
}

impl ApiError {
    /// An error of this status, whose kind follows from it.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = match status.as_u16() {
            401 => ErrorKind::AuthenticationError,
            403 => ErrorKind::PermissionError,
            429 => ErrorKind::RateLimitError,
            500.. => ErrorKind::ServerError,
            _ => ErrorKind::InvalidRequestError,
        };
        Self { status, kind, code: None, param: None, message: message.into(), retry_after: None }
    }

    /// The field `param` of the request is wrong.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, message);
        Self { param: Some(param.into()), code: Some("invalid_request"), ..error }
    }

    /// There is no such model.
    pub fn no_model(model: &str) -> Self {
        let shown: String = model.chars().take(128).collect();
        let message = format!("no model is called {shown:?} here; GET /v1/models lists those that are");
        let error = Self::new(StatusCode::NOT_FOUND, message);
        Self { param: Some("model".to_owned()), code: Some("model_not_found"), ..error }
    }

    /// Somebody canceled the request.
    pub fn canceled() -> Self {
        let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        Self { code: Some("canceled"), ..Self::new(status, "the request was canceled") }
    }

    /// The server is ending.
    pub fn draining() -> Self {
        let error =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping and takes no more requests");
        Self { code: Some("shutting_down"), ..error }.after(Duration::from_secs(5))
    }

    /// There is nothing at the path.
    pub fn unknown_url() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this path").code("unknown_url")
    }

    /// There is something at the path, for another method.
    pub fn wrong_method() -> Self {
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not know the method");
        error.code("method_not_allowed")
    }

    /// What it is by name.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// When to try again.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The body in OpenAI's shape.
    pub fn body(&self) -> serde_json::Value {
        let Self { kind, code, param, message, .. } = self;
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: sooner would be too soon.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Errors of a dialect whose errors are `{"error": "what is wrong"}`.
pub(super) fn reshape(mut response: Response) -> Response {
    if let Some(error) = response.extensions().get::<ApiError>() {
        let body = json!({ "error": error.message }).to_string();
        let headers = response.headers_mut();
        headers.remove(axum::http::header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
    }
    response
}

/// Whether errors at `path` are told as [`reshape`] tells them: the Open Inference Protocol's and Ollama's.
pub(super) fn says_less(path: &str) -> bool {
    let below =
        |root| path.strip_prefix(root).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'));
    below("/v2") || below("/api")
}

impl From<InvalidRequest> for ApiError {
    fn from(wrong: InvalidRequest) -> Self {
        Self::invalid(wrong.field, wrong.to_string())
    }
}

impl From<PoolError> for ApiError {
    fn from(error: PoolError) -> Self {
        let (status, message) = match &error {
            PoolError::InvalidRequest { source, .. }
            | PoolError::ModelError { source: ModelError::Invalid(source), .. } => {
                return source.clone().into();
            }
            PoolError::NoWorkers { key, reason: NoWorkers::Unregistered } => {
                return Self::no_model(key.as_str());
            }
            PoolError::Canceled { .. } => return Self::canceled(),
            PoolError::QueueFull { .. } | PoolError::RateLimited { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, error.to_string())
            }
            PoolError::Timeout { key, waited, .. } => {
                (StatusCode::GATEWAY_TIMEOUT, format!("{key} did not answer within {waited:.1?}"))
            }
            PoolError::MemoryExhausted { .. }
            | PoolError::CircuitOpen { .. }
            | PoolError::NoWorkers { .. }
            | PoolError::SendError { .. }
            | PoolError::ShuttingDown { .. } => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            PoolError::SlowConsumer { .. } => {
                (StatusCode::REQUEST_TIMEOUT, "the stream was not read".to_owned())
            }
            PoolError::SpawnFailed { key, .. } => inside(&error, &format!("{key} could not be loaded")),
            other => inside(&error, &format!("{} could not answer ({})", other.key(), other.code())),
        };
        let retry_after = error.retry_after().or(match status {
            StatusCode::SERVICE_UNAVAILABLE => Some(Duration::from_secs(1)),
            _ => None,
        });
        Self { retry_after, ..Self::new(status, message).code(error.code()) }
    }
}

impl From<crate::Error> for ApiError {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::Pool(error) => error.into(),
            other => {
                let (status, message) = inside(&other, "the model could not be used");
                Self::new(status, message).code("model_error")
            }
        }
    }
}

/// What runs on a thread of its own ended without a result: it panicked, or the server is ending.
impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        if error.is_cancelled() {
            return Self::draining();
        }
        let (status, message) = inside(&error, "the server failed on this request");
        Self::new(status, message)
    }
}

/// What went wrong inside of the machine is for the log.
fn inside(error: &dyn std::error::Error, message: &str) -> (StatusCode, String) {
    tracing::error!(%error, "a request failed");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{message}; the server's log says why"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;
    use crate::pool::{LoadError, SpawnError};

    #[test]
    fn each_error_of_a_pool_has_its_status() {
        let (key, job) = (|| "m".into(), || JobId { number: 1, name: None });
        let wait = Duration::from_millis(1500);
        let load = SpawnError::Load(LoadError::invalid("no such file: /home/me/model"));
        let status = |error: PoolError| {
            let response = ApiError::from(error).into_response();
            let wait = response.headers().get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned());
            (response.status().as_u16(), wait)
        };
        let unregistered = PoolError::NoWorkers { key: key(), reason: NoWorkers::Unregistered };
        assert_eq!(status(unregistered), (404, None));
        assert_eq!(status(PoolError::QueueFull { key: key(), capacity: 1 }), (429, Some("1".into())));
        assert_eq!(status(PoolError::RateLimited { key: key(), retry_after: wait }), (429, Some("2".into())));
        let open = PoolError::CircuitOpen { key: key(), failures: 5, retry_after: wait };
        assert_eq!(status(open), (503, Some("2".into())));
        assert_eq!(status(PoolError::ShuttingDown { key: key() }), (503, Some("1".into())));
        assert_eq!(status(PoolError::Timeout { key: key(), job: job(), waited: wait }), (504, None));
        assert_eq!(status(PoolError::WorkerLost { key: key(), job: job() }), (500, None));
        assert_eq!(status(PoolError::Canceled { key: key(), job: job() }), (499, None));
        let wrong = PoolError::InvalidRequest { key: key(), source: InvalidRequest::new("n", "it is 0") };
        assert_eq!(ApiError::from(wrong).param.as_deref(), Some("n"));
        let failed = ApiError::from(PoolError::SpawnFailed { key: key(), source: load });
        assert_eq!(failed.status.as_u16(), 500);
        assert!(!failed.message.contains("/home"), "{}", failed.message);
    }

    #[test]
    fn dialects_are_told_by_their_paths() {
        for less in ["/v2", "/v2/", "/v2/models/m", "/api/tags", "/api"] {
            assert!(says_less(less), "{less}");
        }
        for more in ["/", "/v1/models", "/v2x", "/apis", "/admin/load"] {
            assert!(!says_less(more), "{more}");
        }
    }

    #[test]
    fn the_body_is_an_object_as_openai_has_it() {
        let body = ApiError::invalid("temperature", "it is 9").body();
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["param"], "temperature");
        assert_eq!(body["error"]["message"], "it is 9");
    }
}
