//! Time as the pool sees it: monotonic, in nanoseconds, saturating, and owned by the test when there is one.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// A point on a [`Clock`], in nanoseconds since the clock was made. Arithmetic saturates, so that no
/// timeout, however long, overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub(crate) u64);

impl Timestamp {
    /// A point that is never reached.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `after` this one, or [`Timestamp::NEVER`].
    #[must_use]
    pub fn saturating_add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(nanos(after)))
    }

    /// The time from `earlier` to this point; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole nanoseconds, saturating (584 years).
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A monotonic clock: the system's, or one that a test moves by hand.
///
/// Clones show the same time.
///
/// ```
/// use std::time::Duration;
/// let clock = millpond::Clock::manual();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now().since(before), Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System { epoch: Instant },
    Manual(Arc<Mutex<Manual>>),
}

#[derive(Default)]
struct Manual {
    now: u64,
    /// Timers that have not rung, each with a sign of whether anyone still waits for it. A timer's channel
    /// has room for its one message, so ringing never blocks.
    timers: Vec<(u64, Sender<Instant>, Weak<()>)>,
}

/// A channel that becomes readable once, when its time has come. Dropping it forgets the timer.
pub(crate) struct Timer {
    pub(crate) rings: Receiver<Instant>,
    _waiting: Option<Arc<()>>,
}

impl Clock {
    /// The machine's monotonic clock: wall-clock jumps do not touch it.
    pub fn system() -> Self {
        Self(Source::System { epoch: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::default()))
    }

    /// The time now.
    #[inline]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { epoch } => Timestamp(nanos(epoch.elapsed())),
            Source::Manual(manual) => Timestamp(manual.lock().now),
        }
    }

    /// Moves a manual clock on and rings every timer whose time has come; the system's clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            let mut manual = manual.lock();
            // Never is never reached, however far it is moved.
            manual.now = manual.now.saturating_add(nanos(by)).min(Timestamp::NEVER.0 - 1);
            let now = manual.now;
            manual.timers.retain(|(at, ring, _)| {
                if *at <= now {
                    // Nobody waits for it any more: it is simply forgotten.
                    let _ = ring.send(Instant::now());
                }
                *at > now
            });
        }
    }

    /// Whether a test owns this clock.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// How many timers of a manual clock have yet to ring: as many as threads wait for it. Zero on the
    /// system's clock.
    pub fn timers(&self) -> usize {
        match &self.0 {
            Source::System { .. } => 0,
            Source::Manual(manual) => {
                let manual = manual.lock();
                manual.timers.iter().filter(|(_, _, waiting)| waiting.strong_count() > 0).count()
            }
        }
    }

    /// A timer that rings once, at `at`; at once when that is past.
    pub(crate) fn timer(&self, at: Timestamp) -> Timer {
        match &self.0 {
            Source::System { .. } if at == Timestamp::NEVER => Timer { rings: never(), _waiting: None },
            Source::System { .. } => Timer { rings: after(at.since(self.now())), _waiting: None },
            Source::Manual(manual) => {
                let (ring, rings) = bounded(1);
                let waiting = Arc::new(());
                let mut manual = manual.lock();
                manual.timers.retain(|(_, _, waiting)| waiting.strong_count() > 0);
                if at.0 <= manual.now {
                    let _ = ring.send(Instant::now());
                } else {
                    manual.timers.push((at.0, ring, Arc::downgrade(&waiting)));
                }
                Timer { rings, _waiting: Some(waiting) }
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_manual() { "manual" } else { "system" };
        write!(f, "Clock({kind}, {:?})", self.now())
    }
}
