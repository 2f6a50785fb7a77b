//! What one frame of the feed holds.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::Serialize;

use crate::id::{ByteSize, RegistryKey};
use crate::pool::{What, WorkerState};
use crate::server::status::ServerStatus;

/// The server at one moment, and what has happened since the frame before.
#[derive(Serialize)]
pub(super) struct Frame<'a> {
    #[serde(flatten)]
    pub(super) status: &'a ServerStatus,
    #[serde(flatten)]
    pub(super) look: &'a Look,
    pub(super) events: &'a VecDeque<Happened>,
    /// What came before, for a listener's first frame: its events are all that are known, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<&'a VecDeque<Sample>>,
}

impl Frame<'_> {
    /// As one server-sent event.
    pub(super) fn bytes(&self) -> Bytes {
        let json = serde_json::to_string(self).expect("a frame has text keys and plain values");
        format!("data: {json}\n\n").into()
    }
}

/// What a look at the pools has shown.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Look {
    /// When, in milliseconds since 1970.
    pub(super) at: u64,
    pub(super) sample: Sample,
    pub(super) rates: Vec<Rate>,
    /// What has happened since the last look.
    #[serde(skip)]
    pub(super) events: Vec<Happened>,
}

/// What is drawn over time.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sample {
    /// When, in milliseconds since 1970.
    pub(super) at: u64,
    /// Requests that workers hold.
    pub(super) running: usize,
    /// Requests that wait.
    pub(super) queued: usize,
    /// Memory reserved.
    pub(super) reserved: ByteSize,
    pub(super) requests_per_second: f64,
    pub(super) tokens_per_second: f64,
    /// What each worker was doing, by its pool's name and its number. One that served in the second before counts
    /// as busy, though it may be done.
    pub(super) workers: BTreeMap<String, WorkerState>,
}

/// How fast a key works.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Rate {
    pub(super) capability: String,
    pub(super) key: RegistryKey,
    pub(super) requests_per_second: f64,
    pub(super) tokens_per_second: f64,
}

/// Something a pool did, with its reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Happened {
    /// When, in milliseconds since 1970.
    pub(super) at: u64,
    pub(super) capability: &'static str,
    pub(super) key: RegistryKey,
    /// How often, within a moment.
    pub(super) times: u32,
    #[serde(flatten)]
    pub(super) what: What,
}

#[cfg(test)]
impl Happened {
    pub(super) fn rejection(capability: &'static str, key: &str) -> Self {
        Self {
            at: 0,
            capability,
            key: key.into(),
            times: 1,
            what: What::Rejected { code: "queue_full".to_owned() },
        }
    }
}
