//! How many requests of a key may start in a given time.
//!
//! The limiter of a key has one owner, the pool's maintenance thread: with a limit, requests always wait in
//! the key's queue, and that thread hands them to workers as the limit allows. Workers know nothing of it,
//! and however many there are, one waits for the limiter.
//!
//! The limiter itself is the generic cell rate algorithm of the `governor` crate, on the pool's clock.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp, nanos};

/// A rate: so many a second on average, and so many at once after a pause.
///
/// What cannot be computed with is held to what can, wherever it comes from: rates to one in 30 years to one
/// a nanosecond, bursts to what is saved up in 146 years.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "RateLimiterStatus")]
pub struct RateLimit {
    per_second: f64,
    burst: NonZeroU32,
}

/// The longest that a full burst may take to save up, in nanoseconds. The limiter adds it to the time, with
/// neither overflow checks nor saturation.
const LONGEST_SAVING: u64 = u64::MAX / 4;

impl RateLimit {
    /// `per_second` requests a second, one at a time. What is no number counts as the lowest rate.
    pub fn per_second(per_second: f64) -> Self {
        let per_second = if per_second.is_nan() { 1e-9 } else { per_second.clamp(1e-9, 1e9) };
        Self { per_second, burst: NonZeroU32::MIN }
    }

    /// Allows `burst` requests at once after a pause; 0 counts as 1.
    #[must_use]
    pub fn burst(mut self, burst: u32) -> Self {
        let most = u32::try_from(LONGEST_SAVING / nanos(self.period())).unwrap_or(u32::MAX);
        self.burst = NonZeroU32::new(burst.min(most)).unwrap_or(NonZeroU32::MIN);
        self
    }

    fn period(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_second).max(Duration::from_nanos(1))
    }
}

/// A rate limit as status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimiterStatus {
    /// Requests a second.
    pub per_second: f64,
    /// Requests at once after a pause.
    pub burst: u32,
}

impl From<RateLimit> for RateLimiterStatus {
    fn from(limit: RateLimit) -> Self {
        Self { per_second: limit.per_second, burst: limit.burst.get() }
    }
}

impl From<RateLimiterStatus> for RateLimit {
    fn from(written: RateLimiterStatus) -> Self {
        Self::per_second(written.per_second).burst(written.burst)
    }
}

/// The limiter of one key. Not shared: `&mut self` says who may ask.
pub(crate) struct Limiter(RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Timestamp>>);

impl Limiter {
    pub(crate) fn new(limit: RateLimit, clock: &Clock) -> Self {
        let quota =
            Quota::with_period(limit.period()).expect("the period is not zero").allow_burst(limit.burst);
        Self(RateLimiter::direct_with_clock(quota, Ticks(clock.clone())))
    }

    /// Takes one permission, or says when there will be one.
    pub(crate) fn try_take(&mut self) -> Result<(), Timestamp> {
        self.0.check().map_err(|not_until| not_until.earliest_possible())
    }
}

/// The pool's clock as the limiter reads it.
#[derive(Clone, Debug)]
struct Ticks(Clock);

impl GovernorClock for Ticks {
    type Instant = Timestamp;

    /// Stops half-way to the end of time, in 292 years, so that a saving and a pause can be added to it.
    fn now(&self) -> Timestamp {
        self.0.now().min(Timestamp(u64::MAX / 2))
    }
}

impl Reference for Timestamp {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.since(earlier).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration.as_u64()))
    }
}

impl std::ops::Add<Nanos> for Timestamp {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        self.saturating_add(duration.into())
    }
}
