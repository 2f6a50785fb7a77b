//! The JSON of a request, read within limits.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api_error::ApiError;
use super::app::{App, mebibytes};
use super::config::Limits;
use crate::id::ByteSize;

/// The body of a request as `T`. An unusable one is refused with the field that is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

/// Reading more than this takes so long that it is done where that delays nobody.
const LONG: usize = 1 << 20;

impl<T: DeserializeOwned + Send + 'static> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let depth = app.config().limits.depth;
        read_as(request, app, move |body| parse(body, depth)).await.map(Self)
    }
}

/// The body of a request as `parse` makes it of its bytes.
///
/// # Errors
///
/// Those of `parse`; 413 beyond the limits, 408 if the body does not come in time, 415 if it is compressed, and 503 where
/// all bodies together are beyond their limit.
pub(super) async fn read_as<T: Send + 'static>(
    request: Request,
    app: &App,
    parse: impl FnOnce(&Bytes) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let body = read(request, app).await?;
    if body.len() <= LONG {
        return parse(&body);
    }
    tokio::task::spawn_blocking(move || parse(&body)).await?
}

/// A body that has come, and counts among those that are not read yet as long as this is there.
#[derive(Debug)]
struct ReceivedBody {
    bytes: Bytes,
    _seats: Option<OwnedSemaphorePermit>,
}

impl Deref for ReceivedBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

async fn read(request: Request, app: &App) -> Result<ReceivedBody, ApiError> {
    let limits = app.config().limits;
    let headers = request.headers();
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a body must not be compressed"));
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.body.bytes()) {
        return Err(too_large(limits));
    }
    let collecting = collect(request.into_body(), announced.unwrap_or(0), limits, &app.seats().bodies);
    match tokio::time::timeout(limits.body_timeout, collecting).await {
        Ok(collected) => collected,
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

/// Bodies up to this size are bounded by the number of connections.
const SMALL: usize = 64 << 10;

/// Copies pieces together: small ones, kept as they come, take many times their size.
async fn collect(
    mut body: Body,
    announced: u64,
    limits: Limits,
    bodies: &Arc<Semaphore>,
) -> Result<ReceivedBody, ApiError> {
    let most = usize::try_from(limits.body.bytes()).unwrap_or(usize::MAX);
    // What is announced need not come.
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(SMALL).min(SMALL));
    let (mut pieces, mut seats) = (0, None);
    while let Some(frame) = body.frame().await {
        let broken = |_| ApiError::new(StatusCode::BAD_REQUEST, "the body broke off");
        let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
        pieces += 1;
        let length = bytes.len() + piece.len();
        if length > most || pieces > limits.pieces {
            return Err(too_large(limits));
        }
        if length > SMALL {
            seat(&mut seats, mebibytes(ByteSize::new(length as u64)), bodies)?;
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(ReceivedBody { bytes: bytes.into(), _seats: seats })
}

/// Has `seats` be as many as `wanted`.
fn seat(
    seats: &mut Option<OwnedSemaphorePermit>,
    wanted: u32,
    bodies: &Arc<Semaphore>,
) -> Result<(), ApiError> {
    let held = seats.as_ref().map_or(0, |seats| u32::try_from(seats.num_permits()).unwrap_or(u32::MAX));
    if wanted <= held {
        return Ok(());
    }
    let full = |_| {
        let message = "too many large bodies are coming in at once";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
            .code("overloaded")
            .after(Duration::from_secs(1))
    };
    let more = bodies.clone().try_acquire_many_owned(wanted - held).map_err(full)?;
    match seats {
        Some(seats) => seats.merge(more),
        None => *seats = Some(more),
    }
    Ok(())
}

fn too_large(limits: Limits) -> ApiError {
    let message =
        format!("the body is larger than {} or comes in more than {} pieces", limits.body, limits.pieces);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("body_too_large")
}

/// How much is told of what is wrong.
const LONGEST_CAUSE: usize = 512;

/// `bytes` as `T`.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], depth: usize) -> Result<T, ApiError> {
    if nests_deeper(bytes, depth) {
        return Err(malformed(format!("the body nests deeper than {depth} levels")));
    }
    // Lists would be taken for the fields of a record in their order.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(malformed("the body is no JSON object".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        // Some causes tell all of what they found.
        let syntax = error.inner().is_syntax() || error.inner().is_eof();
        let cause: String = error.inner().to_string().chars().take(LONGEST_CAUSE).collect();
        if syntax {
            return malformed(format!("the body is no JSON: {cause}"));
        }
        let param: String = path.chars().take(128).collect();
        let message = format!("{param}: {cause}");
        if param == "." { malformed(cause) } else { ApiError::invalid(param, message) }
    })?;
    reader.end().map_err(|cause| malformed(format!("something follows the body's JSON: {cause}")))?;
    Ok(value)
}

fn malformed(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, message).code("invalid_json")
}

/// Whether arrays and objects in `json` nest deeper than `most`; what is no JSON may get either answer.
fn nests_deeper(json: &[u8], most: usize) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in json {
        match (quoted, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => quoted = !quoted,
            (false, _, b'[' | b'{') => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            (false, _, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Wanted {
        model: String,
        #[serde(default)]
        numbers: Vec<u8>,
    }

    fn refused(json: &str) -> (Option<String>, String) {
        let error = parse::<Wanted>(json.as_bytes(), 3).unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        (error.param, error.message)
    }

    #[test]
    fn the_wrong_field_is_named() {
        let wanted = Wanted { model: "m".to_owned(), numbers: vec![1, 2] };
        assert_eq!(parse::<Wanted>(br#" {"model": "m", "numbers": [1, 2], "other": 3} "#, 3), Ok(wanted));
        assert_eq!(refused(r#"{"model": "m", "numbers": [1, 256]}"#).0.as_deref(), Some("numbers[1]"));
        assert_eq!(refused(r#"{"model": 7}"#).0.as_deref(), Some("model"));
        assert!(refused("{}").1.contains("missing field `model`"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for wrong in
            ["", "{", "nonsense", "[\"m\", []]", "{\"model\": \"m\"} trailing", "{\"model\": \"\u{7}\"}"]
        {
            assert_eq!(refused(wrong).0, None, "{wrong}");
        }
        assert!(parse::<Wanted>(b"{\"model\": \"\xff\"}", 3).is_err());
        assert!(refused(r#"{"model": "m", "model": "n"}"#).1.contains("duplicate"));
        let long = format!(r#"{{"model": "m", "numbers": ["{}"]}}"#, "x".repeat(1 << 20));
        assert!(refused(&long).1.len() < 1024, "a refusal does not tell all of what it refuses");
    }

    #[test]
    fn depth_counts_outside_of_texts_only() {
        assert!(!nests_deeper(br#"{"a": [[]], "b": "[[[[\"[["}"#, 3));
        assert!(nests_deeper(br#"{"a": [[[]]]}"#, 3));
        assert!(refused(&"[".repeat(250_000)).1.contains("deeper than 3"));
    }
}
