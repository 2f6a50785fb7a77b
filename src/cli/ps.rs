//! `millpond ps`: what a server has loaded.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::client::ClientArgs;
use super::failure::Failure;
use super::output::{Output, counted};
use super::status::{ServerStatus, clipped, is_active, spoken, workers_in};
use crate::id::ByteSize;
use crate::pool::{KeyStatus, PoolStatus, WorkerState};

/// Show what a server has loaded
///
/// One line for each model in each pool: how many workers it has and how many of them are at work, how many
/// requests wait, what it takes in memory, how many requests it has answered, and when it will be unloaded if nobody
/// asks for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond ps
  millpond ps --all                          what is known and not loaded, too
  millpond ps --url http://box:11435 --json | jq -r .model
  watch millpond ps                          or: millpond top")]
pub(super) struct Ps {
    /// Show models without workers as well.
    #[arg(short, long)]
    all: bool,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// One model in one pool, as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    capability: &'a str,
    workers: usize,
    busy: usize,
    loading: usize,
    queued: usize,
    memory: ByteSize,
    completed: u64,
    failed: u64,
    pinned: bool,
    /// In seconds; nothing where it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
}

impl<'a> Line<'a> {
    fn new(pool: &'a PoolStatus, key: &'a KeyStatus) -> Self {
        Self {
            model: key.key.as_str(),
            capability: &pool.name,
            workers: key.workers.len(),
            busy: workers_in(key, WorkerState::Busy),
            loading: workers_in(key, WorkerState::Loading),
            queued: key.queue_used,
            memory: key.memory,
            completed: key.completed,
            failed: key.failed,
            pinned: key.pinned,
            expires_in: expires_in(key).map(|time| time.as_secs_f64()),
        }
    }

    fn row(&self) -> String {
        let expires = match (self.pinned, self.workers, self.expires_in) {
            (_, 0, _) => "not loaded".to_owned(),
            (true, ..) => "pinned".to_owned(),
            (.., Some(seconds)) => format!("in {}", spoken(Duration::from_secs_f64(seconds))),
            (.., None) if self.busy > 0 => "at work".to_owned(),
            (.., None) if self.loading > 0 => "loading".to_owned(),
            (.., None) => "never".to_owned(),
        };
        let Self { model, capability, workers, busy, queued, memory, completed, .. } = self;
        row([
            &clipped(model, 24),
            capability,
            &workers.to_string(),
            &busy.to_string(),
            &queued.to_string(),
            &memory.to_string(),
            &completed.to_string(),
            &expires,
        ])
    }
}

fn row([model, does, workers, busy, queued, memory, served, expires]: [&str; 8]) -> String {
    format!("{model:<24} {does:<15} {workers:>7} {busy:>4} {queued:>6} {memory:>10} {served:>8}  {expires}")
}

/// How long until the last of its workers has idled too long; nothing if one is at work, or none ever has.
fn expires_in(key: &KeyStatus) -> Option<Duration> {
    let keep_alive = key.keep_alive.filter(|_| !key.pinned && key.in_flight == 0)?;
    let idle = key.workers.iter().map(|worker| worker.idle).min()?;
    Some(keep_alive.saturating_sub(idle))
}

impl Ps {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let client = self.client.client()?;
        let status: ServerStatus = client.get("/pools")?;
        let shown: Vec<_> = status.keys().filter(|(_, key)| self.all || is_active(key)).collect();
        let mut output = Output::stdout();
        if self.json {
            shown.iter().try_for_each(|(pool, key)| output.json(&Line::new(pool, key)))?;
            return output.flush();
        }
        if !shown.is_empty() {
            let titles = ["model", "capability", "workers", "busy", "queued", "memory", "served", "unloads"];
            output.line(row(titles))?;
            shown.iter().try_for_each(|(pool, key)| output.line(Line::new(pool, key).row()))?;
        }
        let memory = &status.engine.memory;
        let others = status.keys().count() - shown.len();
        let known = match (shown.len(), others) {
            (0, 0) => "no model is known; ".to_owned(),
            (_, 0) => String::new(),
            (0, others) => format!("nothing is loaded, {others} known (--all); "),
            (_, others) => format!("{others} more known and not loaded (--all); "),
        };
        output.line(format_args!(
            "{known}{} of {} reserved; {} under way; up for {}{}",
            memory.reserved,
            memory.limit,
            counted(status.requests.len(), "request"),
            spoken(status.uptime),
            if status.draining { "; stopping" } else { "" },
        ))?;
        output.flush()
    }
}
