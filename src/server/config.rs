//! How the server behaves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::api_keys::ApiKeys;
use crate::id::ByteSize;

/// The configuration of a [`Server`](super::Server). Every field has a default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where it listens. Port 0: any that is free. Default `127.0.0.1:11435`.
    pub bind: SocketAddr,
    /// Who may call it. Default: whoever reaches it, for which it must listen on loopback.
    pub keys: ApiKeys,
    /// Listen beyond loopback without a key. Default: that is refused.
    pub insecure: bool,
    /// Names, beside those of loopback and the address it listens on, under which browsers may call it: what a
    /// `Host` header may say. Default: none.
    pub hosts: Vec<String>,
    /// What a request may be.
    pub limits: Limits,
    /// How long a request may take, queueing and loading included. Default 5 min.
    pub request_timeout: Duration,
    /// How long requests under way have to end once the server stops. Default 30 s.
    pub drain_timeout: Duration,
    /// Whether pictures may be fetched from the net: from public addresses only. Default: they are not.
    pub fetch_images: bool,
    /// How often a stream that has nothing to say sends a comment, so that nobody on the way gives it up. Default
    /// 15 s.
    pub keep_alive: Duration,
}

/// What a request may be. What is beyond is refused before it is read, or as soon as it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The bytes of a body. Default 50 MiB.
    pub body: ByteSize,
    /// The bytes of the head: the request's line and all headers. At least 8 KiB. Default 64 KiB.
    pub head: ByteSize,
    /// How many headers. Default 100.
    pub headers: usize,
    /// How deep JSON may nest. Default 64.
    pub depth: usize,
    /// In how many pieces a body may come. Default 65,536.
    pub pieces: usize,
    /// How long the head may take to come, and a connection may be idle. Default 30 s.
    pub head_timeout: Duration,
    /// How long the body may take to come. Default 60 s.
    pub body_timeout: Duration,
    /// How long a client may leave what is written to it unread. Default 60 s.
    pub write_timeout: Duration,
    /// The bytes of all bodies together that are not read yet; a further one is refused. Default 256 MiB, and no less
    /// than [`body`](Self::body).
    pub bodies: ByteSize,
    /// How many connections at once. Default 1024.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: ByteSize::mib(50),
            head: ByteSize::kib(64),
            headers: 100,
            depth: 64,
            pieces: 1 << 16,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_mins(1),
            bodies: ByteSize::mib(256),
            connections: 1024,
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Self::PORT),
            keys: ApiKeys::default(),
            insecure: false,
            hosts: Vec::new(),
            limits: Limits::default(),
            request_timeout: Duration::from_mins(5),
            drain_timeout: Duration::from_secs(30),
            fetch_images: false,
            keep_alive: Duration::from_secs(15),
        }
    }
}

impl ServerConfig {
    /// The port it listens on by default: the one after Ollama's.
    pub const PORT: u16 = 11435;

    /// Listens on `address`.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// Refuses what is open to whoever is on the net.
    ///
    /// # Errors
    ///
    /// [`Exposed`] for an address beyond loopback with neither a key nor [`insecure`](Self::insecure).
    pub fn check(&self) -> Result<(), Exposed> {
        let guarded = self.bind.ip().is_loopback() || !self.keys.is_empty() || self.insecure;
        guarded.then_some(()).ok_or(Exposed { address: self.bind })
    }
}

/// The server would answer whoever is on the net.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is open to the net and there is no API key: give one with --api-key, listen on 127.0.0.1, or say \
     --insecure if something else guards it"
)]
pub struct Exposed {
    /// Where it would listen.
    pub address: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_a_key_is_needed() {
        let check = |bind: &str, keys: &[&str], insecure| {
            let keys = ApiKeys::new(keys.iter().copied()).unwrap();
            ServerConfig { bind: bind.parse().unwrap(), keys, insecure, ..ServerConfig::default() }.check()
        };
        assert_eq!(check("127.0.0.1:1", &[], false), Ok(()));
        assert_eq!(check("[::1]:1", &[], false), Ok(()));
        assert_eq!(check("0.0.0.0:1", &["secret-key-of-16"], false), Ok(()));
        assert_eq!(check("0.0.0.0:1", &[], true), Ok(()));
        for open in ["0.0.0.0:1", "[::]:1", "192.168.1.2:1"] {
            assert_eq!(check(open, &[], false), Err(Exposed { address: open.parse().unwrap() }));
        }
    }
}
