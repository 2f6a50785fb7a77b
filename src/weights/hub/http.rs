//! One GET at a time, and what the hub says beside the body.
//!
//! Redirects are followed by hand, for two reasons: the first answer carries the headers that describe the
//! file, the last one the body; and the token must not travel to the content network that large files are
//! redirected to.

use std::io::Read;
use std::time::Duration;

use ureq::{Agent, AgentBuilder, ErrorKind, Proxy, Response};

use super::config::{HubConfig, HubToken};
use super::error::HubError;

const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one hub.
#[derive(Debug)]
pub(super) struct Http {
    agent: Agent,
    endpoint: String,
    token: Option<HubToken>,
}

/// An answer: what the hub itself said about the file, and the body, which may come from elsewhere.
pub(super) struct Answer {
    /// The commit the file belongs to.
    pub(super) commit: Option<String>,
    /// The name of its content.
    pub(super) etag: Option<String>,
    /// Its length, by the hub.
    pub(super) linked_size: Option<u64>,
    body: Response,
}

impl Http {
    pub(super) fn new(config: &HubConfig) -> Self {
        let mut agent = AgentBuilder::new()
            .redirects(0)
            .timeout_connect(CONNECT_TIMEOUT.min(config.stall_timeout))
            .timeout_read(config.stall_timeout)
            .timeout_write(config.stall_timeout)
            .user_agent(concat!("millpond/", env!("CARGO_PKG_VERSION")));
        let endpoint = config.endpoint.trim_end_matches('/').to_owned();
        if endpoint.starts_with("https://")
            && let Some(Ok(proxy)) = config.proxy.as_ref().map(Proxy::new)
        {
            agent = agent.proxy(proxy);
        }
        Self { agent: agent.build(), endpoint, token: config.token.clone() }
    }

    /// Gets `path` of the endpoint, from byte `from` on; `what` names it in errors.
    pub(super) fn get(&self, path: &str, from: u64, what: &str) -> Result<Answer, HubError> {
        let mut url = format!("{}/{path}", self.endpoint);
        let mut described: Option<Answer> = None;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.get_once(&url, from, what)?;
            let redirect = matches!(response.status(), 301 | 302 | 303 | 307 | 308);
            let next =
                if redirect { Some(redirect_target(&url, response.header("location"), what)?) } else { None };
            // The hub describes the file, in its last answer that does; other hosts only send the body.
            let foreign = origin(&url) != origin(&self.endpoint);
            let answer = match described.take() {
                Some(first) if first.etag.is_some() && (foreign || !response.has("etag")) => {
                    Answer { body: response, ..first }
                }
                _ => Answer::new(response),
            };
            match next {
                None => return Ok(answer),
                Some(next) => url = next,
            }
            described = Some(answer);
        }
        Err(HubError::BadReply { what: what.to_owned(), detail: "too many redirects" })
    }

    fn get_once(&self, url: &str, from: u64, what: &str) -> Result<Response, HubError> {
        let mut request = self.agent.get(url).set("Accept-Encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| origin(url) == origin(&self.endpoint)) {
            request = request.set("Authorization", &token.header());
        }
        if from > 0 {
            request = request.set("Range", &format!("bytes={from}-"));
        }
        let what = what.to_owned();
        request.call().map_err(|error| match error {
            ureq::Error::Status(401 | 403, _) => HubError::Unauthorized { what },
            ureq::Error::Status(404, _) => HubError::NotFound { what },
            ureq::Error::Status(status, _) => HubError::Status { what, status },
            ureq::Error::Transport(transport) => match transport.kind() {
                ErrorKind::InvalidUrl | ErrorKind::UnknownScheme => {
                    HubError::BadReply { what, detail: "its address is no http or https URL" }
                }
                kind @ (ErrorKind::Dns
                | ErrorKind::ConnectionFailed
                | ErrorKind::ProxyConnect
                | ErrorKind::ProxyUnauthorized) => {
                    HubError::Unreachable { what, attempts: 1, detail: kind.to_string() }
                }
                // The message may hold the whole signed URL of a content network; the kind says enough.
                kind => HubError::Network { what, attempts: 1, detail: kind.to_string() },
            },
        })
    }
}

impl Answer {
    fn new(response: Response) -> Self {
        let header = |name| response.header(name).map(str::to_owned);
        Self {
            commit: header("x-repo-commit"),
            etag: header("x-linked-etag").or_else(|| header("etag")),
            linked_size: response.header("x-linked-size").and_then(|size| size.parse().ok()),
            body: response,
        }
    }

    /// Where the body starts and how long the whole file is, by the host that sends it; `None` if it sends a
    /// part and does not say which.
    pub(super) fn extent(&self) -> Option<(u64, Option<u64>)> {
        if self.body.status() != 206 {
            return Some((0, self.body.header("content-length").and_then(|len| len.parse().ok())));
        }
        let range = self.body.header("content-range")?.strip_prefix("bytes ")?;
        let (span, total) = range.split_once('/')?;
        let (start, _) = span.split_once('-')?;
        Some((start.parse().ok()?, total.parse().ok()))
    }

    /// The body, which fails once the connection has been silent for the stall timeout.
    pub(super) fn into_reader(self) -> impl Read {
        self.body.into_reader()
    }
}

/// Scheme, host and port, exactly as written. Two spellings of one origin count as different, which costs a
/// token at worst and never gives one away.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

fn redirect_target(from: &str, location: Option<&str>, what: &str) -> Result<String, HubError> {
    let refuse = |detail| HubError::BadReply { what: what.to_owned(), detail };
    let location = location.ok_or_else(|| refuse("a redirect without a target"))?;
    let target = match location {
        _ if location.starts_with("//") => {
            format!("{}:{location}", from.split("://").next().unwrap_or("https"))
        }
        _ if location.starts_with('/') => format!("{}{location}", origin(from)),
        _ if location.starts_with("https://") || location.starts_with("http://") => location.to_owned(),
        _ => return Err(refuse("a redirect to no http or https URL")),
    };
    if from.starts_with("https://") && !target.starts_with("https://") {
        return Err(refuse("a redirect from https to http"));
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stays_with_its_origin() {
        assert_eq!(origin("https://hub.example/a/b?c"), "https://hub.example");
        assert_eq!(origin("http://127.0.0.1:80"), "http://127.0.0.1:80");
        for other in [
            "http://hub.example/",
            "https://hub.example:444/",
            "https://hub.example@evil.example/",
            "https://hub.example.evil.example/",
            "https://hub.example\\@evil.example/",
        ] {
            assert_ne!(origin(other), origin("https://hub.example/"), "{other} is another origin");
        }
    }

    #[test]
    fn redirects_stay_on_the_web_and_on_tls() {
        let target = |location| redirect_target("https://hub.example/a", Some(location), "m");
        assert_eq!(target("/b").unwrap(), "https://hub.example/b");
        assert_eq!(target("//cdn.example/b").unwrap(), "https://cdn.example/b");
        for refused in ["http://cdn.example/b", "file:///etc/passwd", "b", ""] {
            assert!(target(refused).is_err(), "{refused:?} must not be followed");
        }
    }
}
