//! `GET /metrics`: what Prometheus scrapes.
//!
//! The list is closed, and labels come from the registry alone: no caller can make a series. Histograms have the
//! pools' own bounds, from 64 microseconds on, each double the one before, so that every count is exact.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::app::App;
use crate::engine::EngineStatus;
use crate::id::ByteSize;
use crate::memory::{MemoryProbe, SystemProbe};
use crate::metrics::HistogramSnapshot;
use crate::pool::{KeyStatus, PoolStatus, WorkerState};

const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// All metrics' names begin with it.
const PREFIX: &str = "pool";
/// The first bound of histograms: 2^6 microseconds.
const FIRST_BOUND: usize = 6;
/// The last one: 2^30 microseconds, 18 minutes.
const LAST_BOUND: usize = 30;

const STATES: [(WorkerState, &str); 6] = [
    (WorkerState::Loading, "loading"),
    (WorkerState::Ready, "ready"),
    (WorkerState::Busy, "busy"),
    (WorkerState::Draining, "draining"),
    (WorkerState::Stopped, "stopped"),
    (WorkerState::Failed, "failed"),
];

pub(super) fn routes() -> Router<App> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<App>) -> Response {
    let figures = Figures {
        status: app.engine().status(),
        in_flight: app.in_flight().len(),
        uptime: app.began().elapsed(),
        resident: SystemProbe::new().read().resident,
    };
    ([(CONTENT_TYPE, FORMAT), (CACHE_CONTROL, "no-store")], figures.text()).into_response()
}

/// Everything that is told, at one moment.
#[derive(Clone, Debug)]
struct Figures {
    status: EngineStatus,
    in_flight: usize,
    uptime: Duration,
    resident: ByteSize,
}

impl Figures {
    fn text(self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes any text");
        text
    }

    fn keys(&self) -> impl Iterator<Item = (&PoolStatus, &KeyStatus)> {
        self.status.pools.iter().flat_map(|pool| pool.keys.iter().map(move |key| (pool, key)))
    }
}

type Labels = Vec<(&'static str, String)>;

/// One metric and its samples.
struct Family<T> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    samples: Vec<(Labels, T)>,
}

impl<T> Family<T> {
    fn new(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, T)>) -> Self {
        Self { name, help, unit: None, samples: samples.into_iter().collect() }
    }

    fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// A sample without labels is the metric itself; one with labels is of its family.
    fn write(
        &self,
        encoder: &mut DescriptorEncoder,
        kind: MetricType,
        write: impl Fn(&mut MetricEncoder, &T) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), kind)?;
        for (labels, value) in &self.samples {
            if labels.is_empty() {
                write(&mut metric, value)?;
            } else {
                write(&mut metric.encode_family(labels)?, value)?;
            }
        }
        Ok(())
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("build", "The server's version", None, MetricType::Info)?
            .encode_info(&version)?;
        for family in self.counters() {
            family.write(&mut encoder, MetricType::Counter, |metric, count| {
                metric.encode_counter::<NoLabelSet, u64, u64>(count, None)
            })?;
        }
        for family in self.gauges() {
            #[allow(
                clippy::redundant_closure_for_method_calls,
                reason = "the method is of one lifetime, not of each"
            )]
            family.write(&mut encoder, MetricType::Gauge, |metric, value| metric.encode_gauge(value))?;
        }
        for family in self.histograms() {
            family.write(&mut encoder, MetricType::Histogram, |metric, seen| {
                let (sum, buckets) = (seen.total.as_secs_f64(), buckets(seen));
                metric.encode_histogram::<NoLabelSet>(sum, seen.count, &buckets, None)
            })?;
        }
        Ok(())
    }
}

impl Figures {
    fn counters(&self) -> Vec<Family<u64>> {
        let by = |label: &'static str, counts: fn(&KeyStatus) -> Vec<(&'static str, u64)>| {
            let of_each = self.keys().flat_map(move |(pool, key)| {
                counts(key)
                    .into_iter()
                    .map(move |(value, count)| (with(of_key(pool, key), label, value), count))
            });
            of_each.collect::<Vec<_>>()
        };
        let keys = |count: fn(&KeyStatus) -> u64| {
            self.keys().map(move |(pool, key)| (of_key(pool, key), count(key))).collect::<Vec<_>>()
        };
        vec![
            Family::new(
                "requests",
                "Requests that have ended or were refused, and how",
                by("outcome", outcomes),
            ),
            Family::new("tokens", "Tokens of requests that ended with their answer", by("kind", tokens)),
            Family::new("retries", "Further attempts after a failure", keys(|key| key.retried)),
            Family::new("spawns", "Workers started", keys(|key| key.spawned)),
            Family::new("evictions", "Workers let go", keys(|key| key.evicted)),
            Family::new("worker_restarts", "Workers replaced after a crash", keys(|key| key.restarted)),
        ]
    }

    fn gauges(&self) -> Vec<Family<f64>> {
        let keys = |value: fn(&KeyStatus) -> f64| {
            self.keys().map(move |(pool, key)| (of_key(pool, key), value(key))).collect::<Vec<_>>()
        };
        let one = |value: f64| [(Labels::new(), value)];
        let bytes = |size: ByteSize| one(size.bytes() as f64);
        let memory = &self.status.memory;
        vec![
            Family::new(
                "running",
                "Requests handed to workers that have not ended",
                keys(|it| it.in_flight as f64),
            ),
            Family::new("queued", "Requests that wait for a worker", keys(|it| it.queue_used as f64)),
            Family::new(
                "queue_capacity",
                "How many may wait; 0: any number",
                keys(|it| it.queue_size as f64),
            ),
            Family::new("workers", "Workers, by what they are doing", self.workers()),
            Family::new("circuit_open", "Whether the key rests after too many failures", keys(circuit_open)),
            Family::new("pinned", "Whether the key is exempt from eviction", keys(|it| f64::from(it.pinned))),
            Family::new("model", "Memory that the key has reserved", keys(|it| it.memory.bytes() as f64))
                .unit(Unit::Bytes),
            Family::new("memory_budget", "The limit on all reservations", bytes(memory.limit))
                .unit(Unit::Bytes),
            Family::new("memory_reserved", "What is reserved", bytes(memory.reserved)).unit(Unit::Bytes),
            Family::new("memory_free", "What would be granted", bytes(memory.free)).unit(Unit::Bytes),
            Family::new("memory_rss", "What the process occupies", bytes(self.resident)).unit(Unit::Bytes),
            Family::new(
                "http_requests_running",
                "HTTP requests to models under way",
                one(self.in_flight as f64),
            ),
            Family::new("uptime", "How long the server has been up", one(self.uptime.as_secs_f64()))
                .unit(Unit::Seconds),
        ]
    }

    fn workers(&self) -> Vec<(Labels, f64)> {
        let states = self.keys().flat_map(|(pool, key)| {
            STATES.map(|(state, name)| {
                let count = key.workers.iter().filter(|worker| worker.state == state).count();
                (with(of_key(pool, key), "state", name), count as f64)
            })
        });
        states.collect()
    }

    fn histograms(&self) -> Vec<Family<HistogramSnapshot>> {
        let keys = |seen: fn(&KeyStatus) -> &HistogramSnapshot| {
            self.keys().map(move |(pool, key)| (of_key(pool, key), seen(key).clone())).collect::<Vec<_>>()
        };
        vec![
            Family::new("queue", "From submission to the start", keys(|it| &it.queue_time))
                .unit(Unit::Seconds),
            Family::new("run", "From the start to the end", keys(|it| &it.run_time)).unit(Unit::Seconds),
            Family::new(
                "ttft",
                "From submission to the first token or step",
                keys(|it| &it.first_event_time),
            )
            .unit(Unit::Seconds),
            Family::new("itl", "From one token or step to the next", keys(|it| &it.between_events_time))
                .unit(Unit::Seconds),
            Family::new("load", "Loads of weights", keys(|it| &it.load_time)).unit(Unit::Seconds),
        ]
    }
}

fn outcomes(key: &KeyStatus) -> Vec<(&'static str, u64)> {
    vec![
        ("completed", key.completed),
        ("failed", key.failed.saturating_sub(key.timed_out)),
        ("timed_out", key.timed_out),
        ("canceled", key.canceled),
        ("rejected", key.rejected),
    ]
}

fn tokens(key: &KeyStatus) -> Vec<(&'static str, u64)> {
    vec![("prompt", key.prompt_tokens), ("completion", key.completion_tokens)]
}

fn circuit_open(key: &KeyStatus) -> f64 {
    f64::from(key.circuit_open_for.is_some())
}

fn of_pool(pool: &PoolStatus) -> Labels {
    vec![("capability", pool.name.clone())]
}

fn of_key(pool: &PoolStatus, key: &KeyStatus) -> Labels {
    with(of_pool(pool), "model", escaped(key.key.as_str()))
}

fn with(mut labels: Labels, name: &'static str, value: impl Into<String>) -> Labels {
    labels.push((name, value.into()));
    labels
}

/// A label's value in the format's own quotes; the encoder leaves this to its caller.
fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Bounds in seconds, and how many durations are between each and the one before.
fn buckets(seen: &HistogramSnapshot) -> Vec<(f64, u64)> {
    let between = |from: usize, to: usize| seen.buckets.iter().take(to).skip(from).sum::<u64>();
    let mut buckets = vec![(bound(FIRST_BOUND), between(0, FIRST_BOUND + 1))];
    buckets.extend((FIRST_BOUND + 1..=LAST_BOUND).map(|at| (bound(at), between(at, at + 1))));
    // The encoder writes this one as +Inf.
    buckets.push((f64::MAX, between(LAST_BOUND + 1, usize::MAX)));
    buckets
}

fn bound(at: usize) -> f64 {
    Duration::from_micros(1 << at).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn no_count_is_lost_between_bounds() {
        let histogram = Histogram::new();
        let micros = [0, 1, 64, 65, 128, 1 << 30, (1 << 30) + 1, 1 << 40];
        micros.into_iter().for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let buckets = buckets(&histogram.snapshot());
        let filled: Vec<_> = buckets.iter().copied().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(64e-6, 3), (128e-6, 2), (bound(30), 1), (f64::MAX, 2)]);
        assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_label_cannot_end_its_quotes() {
        assert_eq!(escaped("org/model"), "org/model");
        assert_eq!(escaped("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }
}
