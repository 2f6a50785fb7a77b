//! Circuit breakers and pauses.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::config;
use crate::clock::Timestamp;
use crate::pool::breaker::{Breaker, Circuit};
use crate::pool::retry::Backoff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Fail,
    Succeed,
    Probe,
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => Just(Op::Fail),
        2 => Just(Op::Succeed),
        4 => Just(Op::Probe),
        3 => (0..40u64).prop_map(Op::Advance),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_breaker_follows_its_history(threshold in 0..5u32, cooldown in 1..20u64, ops in vec(op(), 0..60)) {
        let mut breaker = Breaker::new(threshold, Duration::from_nanos(cooldown));
        let (mut now, mut in_a_row, mut open_until, mut probing) = (0u64, 0u32, None, false);
        for op in ops {
            match op {
                Op::Advance(by) => now += by,
                Op::Succeed => {
                    breaker.succeed();
                    (in_a_row, open_until, probing) = (0, None, false);
                }
                // What was under way when it opened says nothing new.
                Op::Fail if open_until.is_some() && !probing => {
                    prop_assert!(breaker.fail(Timestamp(now)));
                }
                Op::Fail => {
                    in_a_row += 1;
                    let opens = threshold > 0 && in_a_row >= threshold;
                    prop_assert_eq!(breaker.fail(Timestamp(now)), opens);
                    if opens {
                        let doublings = (in_a_row - threshold).min(4);
                        (open_until, probing) = (Some(now + (cooldown << doublings)), false);
                    }
                }
                Op::Probe => {
                    let may = !probing && open_until.is_some_and(|until| until <= now);
                    prop_assert_eq!(breaker.try_probe(Timestamp(now)), may);
                    probing |= may;
                }
            }
            let expected = match open_until {
                _ if probing => Circuit::HalfOpen,
                Some(until) => Circuit::Open { until: Timestamp(until) },
                None => Circuit::Closed,
            };
            prop_assert_eq!(breaker.state(), expected);
            prop_assert_eq!(breaker.failures(), in_a_row);
        }
    }

    #[test]
    fn no_cooldown_is_too_long(threshold: u32, cooldown: u64, nanos in 0..1_000_000_000u32, now: u64) {
        let mut breaker = Breaker::new(threshold, Duration::new(cooldown, nanos));
        for _ in 0..8 {
            breaker.fail(Timestamp(now));
            if let Circuit::Open { until } = breaker.state() {
                prop_assert!(until >= Timestamp(now));
            }
        }
    }

    #[test]
    fn pauses_grow_to_the_cap_and_jitter_takes_at_most_half(
        base in 0..1_000_000u64,
        cap in 0..100_000_000u64,
        failures: u32,
        jitter in prop_oneof![0.0..=1.0f64, any::<f64>()],
    ) {
        prop_assume!(!jitter.is_nan());
        let backoff = Backoff { base: Duration::from_micros(base), cap: Duration::from_micros(cap) };
        let pause = backoff.pause(failures, jitter);
        let full = backoff.pause(failures, 0.0);
        prop_assert!(full <= backoff.cap && full <= backoff.pause(failures.saturating_add(1), 0.0));
        prop_assert!(pause <= full && pause * 2 + Duration::from_nanos(2) >= full);
        prop_assert_eq!(backoff.pause(failures.min(1), jitter), Duration::ZERO);
    }
}
