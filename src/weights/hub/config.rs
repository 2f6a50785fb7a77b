//! Where the hub is, where its cache is, and how patient to be.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach a hub and where to keep what it gives.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The hub's address. Default: `https://huggingface.co`.
    pub endpoint: String,
    /// The cache folder, in the layout that Python's `huggingface_hub` shares.
    /// Default: `~/.cache/huggingface/hub`.
    pub cache_dir: PathBuf,
    /// Sent to the endpoint's own host and to no other. Default: none.
    pub token: Option<HubToken>,
    /// Whether the network may be used. Default: [`Access::Online`].
    pub access: Access,
    /// What to do about failures that may pass.
    pub retry: Retry,
    /// How long a connection may be silent, and how long another process may hold a file without adding to
    /// it, before the attempt counts as failed. Default: 30 s.
    pub stall_timeout: Duration,
    /// An HTTP proxy for https endpoints. Default: none.
    pub proxy: Option<String>,
}

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Ask the hub; fall back to the cache when it cannot be reached.
    Online,
    /// Use only what is in the cache.
    CacheOnly,
}

/// How often to try what may pass, and how long to wait in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, at least one. Default: 5.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles from there, with jitter. Default: 500 ms.
    pub first_wait: Duration,
    /// The longest wait. Default: 10 s.
    pub max_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, first_wait: Duration::from_millis(500), max_wait: Duration::from_secs(10) }
    }
}

impl Retry {
    /// The wait after `failed` failed attempts: half of it fixed, half random, so that callers that failed
    /// together do not return together.
    pub(super) fn wait(&self, failed: u32) -> Duration {
        let doubled =
            self.first_wait.saturating_mul(1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.max_wait).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// A secret; printed as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct HubToken(String);

impl HubToken {
    /// The token `text`, unless it is empty or cannot be sent in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let sendable = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        sendable.then(|| Self(text.to_owned()))
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubToken(...)")
    }
}

impl HubConfig {
    /// The public hub, with its cache in `cache_dir`.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            cache_dir: cache_dir.into(),
            token: None,
            access: Access::Online,
            retry: Retry::default(),
            stall_timeout: Duration::from_secs(30),
            proxy: None,
        }
    }

    /// What the environment says, by the variables that Python's `huggingface_hub` reads: `HF_ENDPOINT`,
    /// `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, and `HTTPS_PROXY`.
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// As [`HubConfig::from_env`], with `var` for the environment.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| var(name));
        let user_cache = || match var("XDG_CACHE_HOME") {
            Some(dir) => PathBuf::from(dir),
            None => std::env::home_dir().unwrap_or_default().join(".cache"),
        };
        let home = var("HF_HOME").map_or_else(|| user_cache().join("huggingface"), PathBuf::from);
        let cache = first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]);
        let mut config = Self::new(cache.map_or_else(|| home.join("hub"), PathBuf::from));
        if let Some(endpoint) = var("HF_ENDPOINT") {
            config.endpoint = endpoint;
        }
        config.token = first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
            .or_else(|| {
                let path = var("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
                std::fs::read_to_string(path).ok()
            })
            .and_then(|text| HubToken::new(&text));
        if first(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]).is_some_and(|v| is_true(&v)) {
            config.access = Access::CacheOnly;
        }
        config.proxy = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
        config
    }
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| value.trim().eq_ignore_ascii_case(yes))
}
