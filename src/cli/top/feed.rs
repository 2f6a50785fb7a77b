//! The server's feed: one frame a second.

use std::io::{BufRead, BufReader, Read};
use std::thread::Builder;

use crossbeam_channel::{Receiver, bounded};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::status::ServerStatus;
use crate::id::RegistryKey;
use crate::pool::What;

/// No frame is longer.
const LONGEST: u64 = 64 << 20;

/// The server at one moment, and what has happened since the frame before.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Frame {
    #[serde(flatten)]
    pub(super) status: ServerStatus,
    /// In milliseconds since 1970.
    pub(super) at: u64,
    #[serde(default)]
    pub(super) rates: Vec<Rate>,
    #[serde(default)]
    events: Vec<Value>,
}

/// How fast a key works.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Rate {
    pub(super) capability: String,
    pub(super) key: RegistryKey,
    pub(super) requests_per_second: f64,
    pub(super) tokens_per_second: f64,
}

/// Something a pool did.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Happened {
    /// In milliseconds since 1970.
    pub(super) at: u64,
    pub(super) capability: String,
    pub(super) key: RegistryKey,
    #[serde(default = "once")]
    pub(super) times: u32,
    #[serde(flatten)]
    pub(super) what: What,
}

fn once() -> u32 {
    1
}

impl Frame {
    /// What has happened, as far as this version knows of it.
    pub(super) fn events(&self) -> impl Iterator<Item = Happened> {
        self.events.iter().filter_map(|event| serde_json::from_value(event.clone()).ok())
    }

    /// How fast `key` of this pool works.
    pub(super) fn rate(&self, capability: &str, key: &RegistryKey) -> Option<&Rate> {
        self.rates.iter().find(|rate| rate.capability == capability && rate.key == *key)
    }
}

/// Listens on a thread of its own, until the server or whoever listens is gone.
pub(super) fn listen(client: &Client) -> Result<Receiver<Result<Frame, Failure>>, Failure> {
    let response = client.open("/feed")?;
    let (sender, frames) = bounded(2);
    let url = client.url().to_owned();
    let read = move || {
        let mut lines = BufReader::new(response.into_reader());
        while let Some(data) = next_data(&mut lines) {
            let frame = serde_json::from_str(&data)
                .map_err(|error| Failure::StrangeAnswer { url: url.clone(), reason: error.to_string() });
            if sender.send(frame).is_err() {
                return;
            }
        }
    };
    Builder::new().name("feed".to_owned()).spawn(read).map_err(Failure::Thread)?;
    Ok(frames)
}

/// The next event's data; nothing at the end.
fn next_data(lines: &mut impl BufRead) -> Option<String> {
    loop {
        let mut line = String::new();
        let read = lines.by_ref().take(LONGEST).read_line(&mut line).ok()?;
        if read == 0 {
            return None;
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return Some(data.trim_end().to_owned());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A frame with one model, one worker and one event.
    pub(in crate::cli::top) fn frame() -> Frame {
        let pool = crate::Engine::new().unwrap();
        let files = crate::weights::ModelFolder::local(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed"),
        );
        let config = pool.key_config(crate::Capabilities::TextEmbedding);
        pool.add_folder("shapes-embed", files.unwrap(), config).unwrap();
        let mut status = serde_json::to_value(pool.status()).unwrap();
        status["memory"] = json!({ "limit": 1 << 20, "reserved": 1024, "free": 99,
            "holders": [{ "label": "text-embedding/shapes-embed weights", "bytes": 1024 }] });
        let more = json!({
            "version": "0.1.0", "uptime": { "secs": 61, "nanos": 0 }, "draining": false, "requests": [],
            "at": 1_000_000, "sample": {}, "rates": [{ "capability": "text-embedding", "key": "shapes-embed",
            "requests_per_second": 12.5, "tokens_per_second": 0.0 }],
            "events": [
                { "at": 999_000, "capability": "text-embedding", "key": "shapes-embed", "times": 1,
                  "event": "spawned", "worker": 1, "reason": "cold_start", "reserved": 1024 },
                { "at": 999_500, "capability": "text-embedding", "key": "x", "event": "of another version" },
            ],
        });
        let status = status.as_object_mut().unwrap();
        status.extend(more.as_object().unwrap().clone());
        serde_json::from_value(Value::Object(status.clone())).unwrap()
    }

    #[test]
    fn frames_are_read_and_what_is_unknown_is_passed_over() {
        let frame = frame();
        let events: Vec<_> = frame.events().collect();
        assert_eq!((events.len(), events[0].times, events[0].at), (1, 1, 999_000));
        let rate = frame.rate("text-embedding", &"shapes-embed".into()).unwrap();
        assert!((rate.requests_per_second - 12.5).abs() < 1e-9);
        assert!(frame.rate("vision", &"shapes-embed".into()).is_none());
    }

    #[test]
    fn remarks_and_empty_lines_are_no_frames() {
        let mut lines = &b": hello\n\ndata: {}\n\nevent: x\ndata: 2\n"[..];
        assert_eq!(next_data(&mut lines).as_deref(), Some("{}"));
        assert_eq!(next_data(&mut lines).as_deref(), Some("2"));
        assert_eq!(next_data(&mut lines), None);
    }
}
