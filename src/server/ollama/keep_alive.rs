//! How long a model stays loaded after a request: numbers of seconds, or durations as Go writes them.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use tokio::runtime::Handle;

use crate::engine::Capabilities;
use crate::pool::PoolError;
use crate::server::admin::{Order, carry_out};
use crate::server::app::App;

/// How long a model stays loaded when nothing asks for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepAlive {
    /// It goes when the answer is there.
    Unload,
    /// So long; [`Duration::MAX`]: always.
    For(Duration),
}

impl KeepAlive {
    /// What a key is told, for each thing that it can do. What goes now goes when it has nothing to do.
    pub(super) fn apply(self, app: &App, key: &str) -> Result<(), PoolError> {
        let order = match self {
            Self::Unload => Order::Unload,
            Self::For(idle) => Order::KeepAlive(idle),
        };
        let each = |capability: Capabilities| carry_out(app, key, capability, order);
        app.abilities(key).into_iter().try_for_each(each)
    }

    fn of_seconds(seconds: f64) -> Self {
        if seconds == 0.0 {
            return Self::Unload;
        }
        Self::For(if seconds < 0.0 {
            Duration::MAX
        } else {
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
        })
    }

    /// `300`, `5m`, `1h30m`, `-1`, `-5m`.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse::<f64>() {
            return seconds.is_finite().then(|| Self::of_seconds(seconds));
        }
        let mut rest = text.strip_prefix('-').unwrap_or(text);
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..unit_at].parse().ok()?;
            let units = [
                ("ms", 1e-3),
                ("us", 1e-6),
                ("µs", 1e-6),
                ("ns", 1e-9),
                ("h", 3600.0),
                ("m", 60.0),
                ("s", 1.0),
            ];
            let (unit, length) = units.into_iter().find(|(unit, _)| rest[unit_at..].starts_with(unit))?;
            seconds += number * length;
            rest = &rest[unit_at + unit.len()..];
        }
        let known = text.len() > 1 && seconds.is_finite();
        known.then(|| Self::of_seconds(if text.starts_with('-') { -seconds } else { seconds }))
    }
}

/// Lets a model go when it is dropped: when the answer is there, has failed, or is awaited no more. Nobody waits for it.
#[derive(Debug)]
#[must_use = "the model goes when it is dropped"]
pub(super) struct Going {
    app: App,
    key: String,
}

impl Going {
    /// Of a model that is to go after this request, if it is.
    pub(super) fn after(keep_alive: Option<KeepAlive>, app: &App, key: &str) -> Option<Self> {
        (keep_alive == Some(KeepAlive::Unload)).then(|| Self { app: app.clone(), key: key.to_owned() })
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // Without a runtime the server has ended, and its models with it.
        let Ok(runtime) = Handle::try_current() else { return };
        let (app, key) = (self.app.clone(), std::mem::take(&mut self.key));
        runtime.spawn_blocking(move || {
            if let Err(error) = KeepAlive::Unload.apply(&app, &key) {
                tracing::debug!(%key, %error, "a model could not be unloaded");
            }
        });
    }
}

impl<'de> Deserialize<'de> for KeepAlive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl Visitor<'_> for Read {
    type Value = KeepAlive;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number of seconds, or a duration such as \"5m\"")
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<KeepAlive, E> {
        Ok(KeepAlive::of_seconds(seconds as f64))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<KeepAlive, E> {
        Ok(KeepAlive::of_seconds(seconds as f64))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<KeepAlive, E> {
        Ok(KeepAlive::of_seconds(seconds))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<KeepAlive, E> {
        KeepAlive::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_what_go_writes() {
        let read = |json: &str| serde_json::from_str::<KeepAlive>(json).ok();
        let lasts = |seconds| Some(KeepAlive::For(Duration::from_secs_f64(seconds)));
        for (json, expected) in [
            ("0", Some(KeepAlive::Unload)),
            ("\"0\"", Some(KeepAlive::Unload)),
            ("\"0s\"", Some(KeepAlive::Unload)),
            ("0.0", Some(KeepAlive::Unload)),
            ("300", lasts(300.0)),
            ("0.5", lasts(0.5)),
            ("\"300\"", lasts(300.0)),
            ("\"5m\"", lasts(300.0)),
            ("\"1h30m\"", lasts(5400.0)),
            ("\"1.5h\"", lasts(5400.0)),
            ("\"250ms\"", lasts(0.25)),
            ("-1", Some(KeepAlive::For(Duration::MAX))),
            ("\"-1\"", Some(KeepAlive::For(Duration::MAX))),
            ("\"-5m\"", Some(KeepAlive::For(Duration::MAX))),
            ("1e300", Some(KeepAlive::For(Duration::MAX))),
            ("\"\"", None),
            ("\"-\"", None),
            ("\"m\"", None),
            ("\"5\u{e9}\"", None),
            ("\"5x\"", None),
            ("\"5m3\"", None),
            ("\"NaN\"", None),
            ("\"inf\"", None),
            ("\"1..5h\"", None),
            ("true", None),
            ("[]", None),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
    }
}
