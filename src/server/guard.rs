//! Who may come in: decided from a request's head alone.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api_error::ApiError;
use super::app::App;
use super::arrival::{Peer, RequestId};
use super::config::ServerConfig;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// How the paths begin by which the server is steered.
const STEERING: [&str; 7] = [
    "/admin/",
    "/requests",
    "/v2/repository/models/",
    "/api/pull",
    "/api/delete",
    "/api/create",
    "/api/copy",
];
/// The longest name that a caller may give a request.
const ID_BYTES: usize = 128;

/// Refuses who may not come in, and names everybody else's request.
pub(super) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let peer = request.extensions().get::<Peer>().copied();
    let mut response = match admit(&app, request.headers(), request.uri(), peer) {
        Ok(()) => {
            request.extensions_mut().insert(RequestId(id.as_str().into()));
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if app.is_draining() {
        // Whoever asks again over this connection would find it closed, and not know whether they were heard.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn admit(app: &App, headers: &HeaderMap, uri: &Uri, peer: Option<Peer>) -> Result<(), ApiError> {
    let config = app.config();
    let path = uri.path();
    // Whether it lives may be asked by anybody, at any time.
    if matches!(
        path,
        "/health" | "/health/live" | "/health/ready" | "/ping" | "/v2/health/live" | "/v2/health/ready"
    ) {
        return Ok(());
    }
    check_host(config, headers)?;
    check_origin(headers)?;
    check_key(config, headers, path, peer)?;
    if app.is_draining() && !path.starts_with("/metrics") && !path.starts_with("/pools") {
        return Err(ApiError::draining());
    }
    Ok(())
}

/// A page of another site that has its name point here is refused: its requests say whom they were meant for.
fn check_host(config: &ServerConfig, headers: &HeaderMap) -> Result<(), ApiError> {
    if !config.bind.ip().is_loopback() && !config.keys.is_empty() {
        // Reached by whatever name its users have for it, and by nobody without a key.
        return Ok(());
    }
    let Some(host) = headers.get(HOST) else { return Ok(()) };
    let host = host.to_str().unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |it| it.0);
    let own = name.parse::<std::net::IpAddr>().is_ok()
        || name
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok())
            .is_some()
        || name.eq_ignore_ascii_case("localhost")
        || config.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    let message = "the Host header names another machine; add it to the server's hosts if it is this one";
    own.then_some(()).ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, message).code("wrong_host"))
}

/// Pages of other origins may not call, whatever they call it.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let authority =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let same = authority.is_some() && authority == host;
    let message = "pages of other origins may not call this server";
    same.then_some(()).ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, message).code("wrong_origin"))
}

/// With keys, everybody needs one, but for the page itself, which holds nothing. Without, whoever steers the server
/// must be on this machine.
fn check_key(
    config: &ServerConfig,
    headers: &HeaderMap,
    path: &str,
    peer: Option<Peer>,
) -> Result<(), ApiError> {
    if config.keys.is_empty() {
        let steers = STEERING.iter().any(|steering| path.starts_with(steering));
        let local = peer.is_some_and(Peer::is_local);
        let message = "this needs an API key, or a caller on the server's own machine";
        let allowed = local || !steers;
        return allowed.then_some(()).ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, message));
    }
    if path == "/" || path.starts_with("/page/") || path == "/favicon.ico" {
        return Ok(());
    }
    let bearer = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "));
    let given = bearer.or_else(|| headers.get(API_KEY)?.to_str().ok());
    match given {
        Some(key) if config.keys.accept(key) => Ok(()),
        Some(_) => Err(unauthorized("the API key is not one of this server's")),
        None => Err(unauthorized("this server needs an API key: Authorization: Bearer KEY")),
    }
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key")
}

/// The caller's name for the request, if it is one that a log can hold.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let plain =
        |id: &&str| (1..=ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(plain).map_or_else(|| format!("req-{:016x}", fastrand::u64(..)), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ApiKeys;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn refused(result: Result<(), ApiError>) -> Option<u16> {
        result.err().map(|error| error.status.as_u16())
    }

    #[test]
    fn names_of_other_machines_are_refused_on_loopback() {
        let config = ServerConfig { hosts: vec!["mill.local".to_owned()], ..ServerConfig::default() };
        let host = |name: &str| refused(check_host(&config, &headers(&[(HOST, name)])));
        for own in ["localhost", "localhost:1", "127.0.0.1:11435", "[::1]:9", "LOCALHOST:1", "mill.local:1"] {
            assert_eq!(host(own), None, "{own}");
        }
        for other in
            ["evil.example", "evil.example:11435", "localhost.evil.example", "", "127.0.0.1.evil.example"]
        {
            assert_eq!(host(other), Some(403), "{other}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let origin =
            |origin: &str| refused(check_origin(&headers(&[(HOST, "127.0.0.1:1"), (ORIGIN, origin)])));
        assert_eq!(origin("http://127.0.0.1:1"), None);
        for other in ["http://evil.example", "http://127.0.0.1:2", "null", "https://127.0.0.1:1.evil.example"]
        {
            assert_eq!(origin(other), Some(403), "{other}");
        }
        assert_eq!(refused(check_origin(&HeaderMap::new())), None);
    }

    #[test]
    fn a_key_is_asked_for_where_there_are_keys() {
        let keys = ApiKeys::new(["a-key-of-some-length"]).unwrap();
        let config = ServerConfig { keys, ..ServerConfig::default() };
        let check = |path: &str, pairs: &[(HeaderName, &str)]| {
            refused(check_key(&config, &headers(pairs), path, None))
        };
        assert_eq!(check("/v1/models", &[]), Some(401));
        assert_eq!(check("/v1/models", &[(AUTHORIZATION, "Bearer a-key-of-some-length")]), None);
        assert_eq!(check("/v1/models", &[(API_KEY, "a-key-of-some-length")]), None);
        for wrong in
            ["Bearer a-key-of-some-lengtX", "Bearer ", "a-key-of-some-length", "Basic a-key-of-some-length"]
        {
            assert_eq!(check("/v1/models", &[(AUTHORIZATION, wrong)]), Some(401), "{wrong}");
        }
        assert_eq!(check("/", &[]), None);
    }

    #[test]
    fn without_keys_only_neighbours_steer() {
        let config = ServerConfig::default();
        let from = |peer: &str, path| {
            let peer = Some(Peer(peer.parse().unwrap()));
            refused(check_key(&config, &HeaderMap::new(), path, peer))
        };
        assert_eq!(from("127.0.0.1:5", "/admin/load"), None);
        assert_eq!(from("[::ffff:127.0.0.1]:5", "/admin/load"), None);
        assert_eq!(from("10.0.0.1:5", "/admin/load"), Some(403));
        assert_eq!(from("10.0.0.1:5", "/requests/req-1/cancel"), Some(403));
        assert_eq!(from("10.0.0.1:5", "/v2/repository/models/m/unload"), Some(403));
        assert_eq!(from("10.0.0.1:5", "/api/pull"), Some(403));
        assert_eq!(from("10.0.0.1:5", "/v1/models"), None);
        // Somebody of whom nothing is known is no neighbour.
        assert_eq!(refused(check_key(&config, &HeaderMap::new(), "/admin/load", None)), Some(403));
    }

    #[test]
    fn a_request_has_one_name() {
        assert_eq!(request_id(&headers(&[(REQUEST_ID, "mine-7")])), "mine-7");
        for odd in ["", "with space", &"x".repeat(129)] {
            assert!(request_id(&headers(&[(REQUEST_ID, odd)])).starts_with("req-"), "{odd}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
