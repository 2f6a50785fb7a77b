//! How a pool behaves. The same fields from code, from a file (serde) and from the environment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rate_limit::RateLimit;
use super::retry::Retry;
use super::slot::EventLimits;

/// The configuration of a pool. Every field has a default; see [`PoolConfig::default`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PoolConfig {
    /// How long a request may take, queueing included, when it does not say itself. Default 30 s. For no
    /// limit: [`Duration::MAX`].
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long dropping the pool waits for running and queued work. Default 5 s.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
    /// How often the maintenance thread looks over everything, due or not. Default 60 s.
    #[serde(with = "duration")]
    pub maintenance_interval: Duration,
    /// How long a worker may be idle before it is let go, where its key does not say. Default 1 min.
    #[serde(with = "duration")]
    pub cooldown_idle: Duration,
    /// How many workers a key starts with; fewer if memory allows fewer. Default 2.
    pub initial_workers: usize,
    /// How many workers a key keeps when idle. Default 0: an idle model is unloaded.
    pub min_workers: usize,
    /// How many workers a key may have. Default 4.
    pub max_workers: usize,
    /// How many requests of a key may wait for a worker; 0 means any number. Default 1000.
    pub queue_capacity: usize,
    /// Whether priorities count. Default: they do, with an ageing step of 10 s.
    pub queue_order: QueueOrder,
    /// What happens to a request that no worker has room for. Default: it is queued.
    pub when_busy: WhenBusy,
    /// How failed requests are tried again when they do not say themselves. Default: not.
    pub retry: Retry,
    /// How many requests of a key may start in a given time. Default: any number.
    pub rate_limit: Option<RateLimit>,
    /// How long a worker may take to start, loading included. Default 5 min.
    #[serde(with = "duration")]
    pub start_timeout: Duration,
    /// How often workers are checked for signs of life. Default 30 s.
    #[serde(with = "duration")]
    pub health_interval: Duration,
    /// How long one step may take before its worker counts as stuck. Default 2 min.
    #[serde(with = "duration")]
    pub stuck_after: Duration,
    /// How many failures in a row open a circuit: of starts and panics for a key, of requests for a worker.
    /// Default 5; 0 means never.
    pub circuit_threshold: u32,
    /// How long an open circuit rests before a probe; doubles with each failed probe, up to 16 times.
    /// Default 10 s.
    #[serde(with = "duration")]
    pub circuit_cooldown: Duration,
    /// How long a loaded worker is safe from eviction in favour of another key. Default 1 s.
    #[serde(with = "duration")]
    pub min_residence: Duration,
    /// How long a key waits for memory that others keep busy before one of them must finish what it has and
    /// make room. Default 10 s.
    #[serde(with = "duration")]
    pub memory_patience: Duration,
    /// How many events a request keeps for a reader that is not reading. Default 1024.
    pub event_capacity: usize,
    /// How long a reader of events may pause once the buffer is full. Default 10 s.
    #[serde(with = "duration")]
    pub event_grace: Duration,
    /// How long a session is remembered after its last use. Default 30 min.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
}

/// Whether priorities count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueOrder {
    /// First in, first out; priorities are ignored.
    Fifo,
    /// Higher priority first.
    Priority {
        /// A request that has waited this long is treated as one of the next higher priority that has just
        /// come, so that none waits for ever.
        #[serde(with = "duration")]
        ageing: Duration,
    },
}

/// What happens to a request that no worker has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenBusy {
    /// It waits in the queue, as long as that has room.
    Queue,
    /// It is refused. A key without workers still loads, and what started the load waits for it.
    Reject,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(5),
            maintenance_interval: Duration::from_mins(1),
            cooldown_idle: Duration::from_mins(1),
            initial_workers: 2,
            min_workers: 0,
            max_workers: 4,
            queue_capacity: 1000,
            queue_order: QueueOrder::Priority { ageing: Duration::from_secs(10) },
            when_busy: WhenBusy::Queue,
            retry: Retry::NEVER,
            rate_limit: None,
            start_timeout: Duration::from_mins(5),
            health_interval: Duration::from_secs(30),
            stuck_after: Duration::from_mins(2),
            circuit_threshold: 5,
            circuit_cooldown: Duration::from_secs(10),
            min_residence: Duration::from_secs(1),
            memory_patience: Duration::from_secs(10),
            event_capacity: 1024,
            event_grace: Duration::from_secs(10),
            session_timeout: Duration::from_mins(30),
        }
    }
}

impl PoolConfig {
    /// The defaults of a background job pool: 10 workers that stay, first in first out, no request timeout,
    /// 30 s to shut down, and no circuits: that one task fails says nothing about the next.
    pub fn background() -> Self {
        Self {
            request_timeout: Duration::MAX,
            shutdown_timeout: Duration::from_secs(30),
            queue_order: QueueOrder::Fifo,
            stuck_after: Duration::MAX,
            circuit_threshold: 0,
            ..Self::default()
        }
        .workers(10)
    }

    /// Exactly `n` workers for every key, always.
    #[must_use]
    pub fn workers(mut self, n: usize) -> Self {
        (self.initial_workers, self.min_workers, self.max_workers) = (n, n, n);
        self
    }

    /// Room for `n` waiting requests of a key; 0 means any number.
    #[must_use]
    pub fn queue_capacity(mut self, n: usize) -> Self {
        self.queue_capacity = n;
        self
    }

    /// Lets priorities count, with the default ageing.
    #[must_use]
    pub fn priority(mut self) -> Self {
        self.queue_order = Self::default().queue_order;
        self
    }

    /// How long a request may take.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long dropping the pool waits for its work.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// How failed requests are tried again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How many requests of a key may start in a given time.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = Some(limit);
        self
    }

    /// Defaults, changed by the environment: see [`with_env`](Self::with_env).
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        Self::default().with_env(prefix)
    }

    /// Changes what the environment names. With the prefix `WORKER`:
    ///
    /// | variable | sets |
    /// | --- | --- |
    /// | `WORKER_POOL_SIZE` | [`workers`](Self::workers) |
    /// | `WORKER_QUEUE_SIZE` | [`queue_capacity`](Self::queue_capacity), 0 = any number |
    /// | `WORKER_PRIORITY` | `true`: priorities count; `false`: first in, first out |
    /// | `WORKER_TASK_TIMEOUT` | [`request_timeout`](Self::request_timeout), 0 = none |
    /// | `WORKER_SHUTDOWN_TIMEOUT` | [`shutdown_timeout`](Self::shutdown_timeout) |
    /// | `WORKER_MAINTENANCE_INTERVAL`, `WORKER_COOLDOWN_IDLE` | the field of that name |
    ///
    /// Durations are written `500ms`, `30s`, `5m` or `1h`; a bare number is seconds.
    pub fn with_env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.with_vars(prefix, |name| std::env::var(name).ok())
    }

    /// As [`with_env`](Self::with_env), from any source of variables.
    pub fn with_vars(
        mut self,
        prefix: &str,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let read = |name: &str| {
            let name = format!("{prefix}_{name}");
            var(&name).map(|value| (name, value))
        };
        if let Some(value) = read("POOL_SIZE") {
            self = self.workers(number(value)?);
        }
        if let Some(value) = read("QUEUE_SIZE") {
            self.queue_capacity = number(value)?;
        }
        if let Some((name, value)) = read("PRIORITY") {
            self.queue_order = match value.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Self::default().queue_order,
                "false" | "0" | "no" | "off" | "" => QueueOrder::Fifo,
                _ => return Err(ConfigError { name, value, expected: "true or false" }),
            };
        }
        if let Some(value) = read("TASK_TIMEOUT") {
            let timeout = time(value)?;
            self.request_timeout = if timeout.is_zero() { Duration::MAX } else { timeout };
        }
        for (name, field) in [
            ("SHUTDOWN_TIMEOUT", &mut self.shutdown_timeout),
            ("MAINTENANCE_INTERVAL", &mut self.maintenance_interval),
            ("COOLDOWN_IDLE", &mut self.cooldown_idle),
        ] {
            if let Some(value) = read(name) {
                *field = time(value)?;
            }
        }
        Ok(self)
    }

    pub(crate) fn event_limits(&self) -> EventLimits {
        EventLimits { capacity: self.event_capacity, grace: self.event_grace }
    }

    pub(crate) fn ageing_step(&self) -> Duration {
        match self.queue_order {
            QueueOrder::Fifo => Duration::ZERO,
            QueueOrder::Priority { ageing } => ageing,
        }
    }
}

fn number((name, value): (String, String)) -> Result<usize, ConfigError> {
    value.trim().parse().map_err(|_| ConfigError { name, value, expected: "a whole number" })
}

fn time((name, value): (String, String)) -> Result<Duration, ConfigError> {
    duration::parse(&value).ok_or(ConfigError {
        name,
        value,
        expected: "a duration such as 500ms, 30s, 5m or 1h",
    })
}

/// An environment variable holds something that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value:?}: expected {expected}")]
pub struct ConfigError {
    /// The variable.
    pub name: String,
    /// What it holds.
    pub value: String,
    /// What it should hold.
    pub expected: &'static str,
}

/// Durations as people write them.
mod duration {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn parse(text: &str) -> Option<Duration> {
        let text = text.trim();
        if text == "none" {
            return Some(Duration::MAX);
        }
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let seconds = match unit.trim() {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
    }

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        match *duration {
            Duration::MAX => to.serialize_str("none"),
            whole if whole.subsec_nanos() == 0 => to.serialize_str(&format!("{}s", whole.as_secs())),
            short if short < Duration::from_secs(1) => to.serialize_str(&format!("{}ns", short.as_nanos())),
            mixed => to.serialize_str(&format!("{}s", mixed.as_secs_f64())),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Seconds(f64),
            Text(String),
        }
        let read = match Written::deserialize(from)? {
            Written::Seconds(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Written::Text(text) => parse(&text),
        };
        read.ok_or_else(|| D::Error::custom("expected a duration such as 500ms, 30s, 5m, 1h or none"))
    }
}
