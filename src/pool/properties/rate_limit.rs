//! Rate limits at the ends of what can be written down.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::config;
use crate::clock::{Clock, Timestamp};
use crate::pool::rate_limit::{Limiter, RateLimit, RateLimiterStatus};

/// Rates of every kind: usual ones, tiny ones, infinite ones, no numbers.
fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![0.1..1000.0, any::<f64>(), Just(f64::NAN), Just(0.0), Just(1e-9), Just(1e9)]
}

fn burst() -> impl Strategy<Value = u32> {
    prop_oneof![0..5u32, any::<u32>(), Just(u32::MAX)]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_limit_is_too_strange_and_none_grants_too_much(
        rate in rate(),
        burst in burst(),
        pauses in vec((any::<u64>(), 0..64u32).prop_map(|(n, shift)| n >> shift), 0..20),
    ) {
        let limit = RateLimit::per_second(rate).burst(burst);
        let clock = Clock::manual();
        let mut limiter = Limiter::new(limit, &clock);
        let held = RateLimiterStatus::from(limit);
        let period = Duration::from_secs_f64(1.0 / held.per_second).max(Duration::from_nanos(1));
        let mut granted = 0u32;
        for pause in pauses {
            clock.advance(Duration::from_nanos(pause));
            for _ in 0..5 {
                match limiter.try_take() {
                    Ok(()) => granted += 1,
                    Err(at) => {
                        prop_assert!(granted >= held.burst, "{granted} of a burst of {}", held.burst);
                        prop_assert!(at > clock.now().min(Timestamp(u64::MAX / 2)));
                    }
                }
            }
        }
        let saved_up = clock.now().since(Timestamp::default()).as_nanos() / period.as_nanos();
        prop_assert!(u128::from(granted) <= u128::from(held.burst) + saved_up);
    }

    #[test]
    fn who_waits_as_told_is_let_through(rate in 0.001..1e6f64, burst in 1..20u32) {
        let clock = Clock::manual();
        let mut limiter = Limiter::new(RateLimit::per_second(rate).burst(burst), &clock);
        prop_assert!((0..burst).all(|_| limiter.try_take().is_ok()), "a whole burst at once");
        for _ in 0..5 {
            let at = limiter.try_take().expect_err("the burst is used up");
            let rest = Duration::from_nanos(1);
            clock.advance(at.since(clock.now()).saturating_sub(rest));
            prop_assert_eq!(limiter.try_take(), Err(at), "a moment too early");
            clock.advance(rest);
            prop_assert_eq!(limiter.try_take(), Ok(()));
        }
    }

    #[test]
    fn limits_survive_being_written_and_files_may_hold_anything(rate in rate(), burst in burst()) {
        let limit = RateLimit::per_second(rate).burst(burst);
        let written = serde_json::to_string(&limit).expect("finite figures");
        let read = RateLimiterStatus::from(serde_json::from_str::<RateLimit>(&written).expect("a limit"));
        let held = RateLimiterStatus::from(limit);
        // To the last digit but one, which is as far as JSON goes.
        let agree = |a: f64, b: f64| (a - b).abs() <= a * 1e-9;
        prop_assert!(agree(read.per_second, held.per_second), "{written}");
        prop_assert!(agree(read.burst.into(), held.burst.into()), "{written}");
        let hostile = RateLimit::from(RateLimiterStatus { per_second: rate, burst });
        prop_assert_eq!(hostile, limit);
        let _ = Limiter::new(hostile, &Clock::manual()).try_take();
    }
}
