//! Pictures from the net, for a server that is told to fetch them.
//!
//! Whoever sends a URL has the server call it, from where the server stands. So only public addresses are called, at
//! the ports of the web: a name is looked up once, each of its addresses is checked, and the connection goes to one
//! of those that were checked; so does each redirect. What went wrong is told without addresses.

mod public;

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use public::is_public;
use tokio::time::timeout;

use super::app::App;
use crate::contain::contain;

/// The longest picture that is fetched.
const MOST: u64 = 20 << 20;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(10);
const REDIRECTS: u32 = 3;
const PORTS: [u16; 2] = [80, 443];
const LONGEST_URL: usize = 8 << 10;

/// Why nothing was fetched. Says nothing of where a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    /// It is no URL, or holds a password.
    #[error("the URL is none that a picture can be fetched from")]
    Url,
    /// It leads, itself or by redirects, to what is no public address, or to another port.
    #[error("the URL leads to an address that pictures are not fetched from")]
    Forbidden,
    /// The other side says no, or nothing.
    #[error("the picture could not be fetched")]
    Failed,
    /// It is too long.
    #[error("the picture is longer than the {} MiB that are fetched", MOST >> 20)]
    TooLong,
    /// It did not come in time.
    #[error("the picture did not come within {} s", PATIENCE.as_secs())]
    TooSlow,
}

/// The bytes at `url`. A few are fetched at once, however many are asked for: each holds a thread until its other side
/// has answered, whoever has gone meanwhile.
pub(super) async fn fetch(app: &App, url: String) -> Result<Vec<u8>, FetchError> {
    let fetch = async {
        let seat = app.seats().fetches.clone().acquire_owned().await.map_err(|_| FetchError::Failed)?;
        let work = tokio::task::spawn_blocking(move || {
            let _seat = seat;
            get(&agent(look_up, is_public), &url)
        });
        work.await.unwrap_or(Err(FetchError::Failed))
    };
    timeout(PATIENCE, fetch).await.unwrap_or(Err(FetchError::TooSlow))
}

fn look_up(host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
    host_and_port.to_socket_addrs().map(Iterator::collect)
}

/// Calls only addresses that are `allowed`: `look_up` is asked for each host, names and numbers alike, and the
/// connection goes to what it says.
fn agent(
    look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    allowed: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
) -> ureq::Agent {
    let resolver = move |host_and_port: &str| {
        let forbidden = || io::Error::from(io::ErrorKind::PermissionDenied);
        let port = host_and_port.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        if !port.is_some_and(|port| PORTS.contains(&port)) {
            return Err(forbidden());
        }
        let addresses = look_up(host_and_port)?;
        // All must be public: which of them is called is not ours to say.
        if addresses.iter().all(|address| allowed(address.ip())) { Ok(addresses) } else { Err(forbidden()) }
    };
    ureq::AgentBuilder::new()
        .resolver(resolver)
        .try_proxy_from_env(false)
        // It counts the first call, too.
        .redirects(REDIRECTS + 1)
        .timeout(PATIENCE)
        .timeout_connect(PATIENCE / 2)
        .max_idle_connections(0)
        .user_agent(concat!("millpond/", env!("CARGO_PKG_VERSION")))
        .build()
}

fn get(agent: &ureq::Agent, url: &str) -> Result<Vec<u8>, FetchError> {
    if url.len() > LONGEST_URL || has_password(url) {
        return Err(FetchError::Url);
    }
    // A redirect to what has no host makes it panic.
    let call = || agent.get(url).set("accept", "image/*").call().map_err(|error| failed(&error));
    let response = contain(call).unwrap_or(Err(FetchError::Url))?;
    if response.header("content-length").and_then(|it| it.parse().ok()).is_some_and(|it: u64| it > MOST) {
        return Err(FetchError::TooLong);
    }
    let mut bytes = Vec::new();
    response.into_reader().take(MOST + 1).read_to_end(&mut bytes).map_err(|_| FetchError::Failed)?;
    if bytes.len() as u64 > MOST { Err(FetchError::TooLong) } else { Ok(bytes) }
}

/// Whether the URL names somebody before its host: that would be sent there.
fn has_password(url: &str) -> bool {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    behind.split(['/', '\\', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

fn failed(error: &ureq::Error) -> FetchError {
    use std::error::Error as _;

    let ureq::Error::Transport(transport) = error else {
        return FetchError::Failed;
    };
    let denied = transport
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::PermissionDenied);
    match transport.kind() {
        _ if denied => FetchError::Forbidden,
        ureq::ErrorKind::InvalidUrl | ureq::ErrorKind::UnknownScheme => FetchError::Url,
        _ => FetchError::Failed,
    }
}

#[cfg(test)]
mod tests;
