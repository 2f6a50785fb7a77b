//! The ledger under every order of its users' steps.

use std::sync::Arc;

use crossbeam_channel::bounded;
use loom::thread::spawn;

use super::budget::MemoryBudget;
use super::probe::MemoryReading;
use crate::id::ByteSize;
use crate::sync::{AtomicU64, Ordering, in_every_order};

const LIMIT: ByteSize = ByteSize::new(100);

fn is_held(budget: &MemoryBudget) {
    assert!(budget.reserved() <= LIMIT, "{:?}", budget.status());
}

#[test]
fn the_last_bytes_are_granted_once() {
    in_every_order(|| {
        let budget = MemoryBudget::fixed(LIMIT);
        let reserve = |bytes| {
            let budget = budget.clone();
            spawn(move || budget.try_reserve("one", ByteSize::new(bytes)).ok())
        };
        let (first, second) = (reserve(60), reserve(60));
        is_held(&budget);
        let granted = [first.join(), second.join()].map(|granted| granted.expect("no panic"));
        assert_eq!(granted.iter().flatten().count(), 1);
        assert_eq!(budget.reserved(), ByteSize::new(60));
        drop(granted);
        assert_eq!(budget.reserved(), ByteSize::ZERO);
    });
}

#[test]
fn settling_at_more_and_reserving_do_not_both_take_the_same_bytes() {
    in_every_order(|| {
        let budget = MemoryBudget::fixed(LIMIT);
        let mut loaded = budget.try_reserve("loaded", ByteSize::new(40)).expect("it is free");
        let grown = spawn(move || {
            let settled = loaded.settle(ByteSize::new(70)).is_ok();
            assert_eq!(loaded.bytes(), ByteSize::new(if settled { 70 } else { 40 }));
            loaded
        });
        let other = budget.try_reserve("other", ByteSize::new(50));
        is_held(&budget);
        let loaded = grown.join().expect("no panic");
        let sum = loaded.bytes().bytes() + other.as_ref().map_or(0, |other| other.bytes().bytes());
        assert_eq!(budget.reserved().bytes(), sum, "the ledger says what its holders hold");
        is_held(&budget);
        drop((loaded, other));
        assert_eq!(budget.status().holders, []);
    });
}

#[test]
fn who_was_refused_hears_of_what_comes_back() {
    in_every_order(|| {
        let budget = MemoryBudget::fixed(LIMIT);
        let (ring, freed) = bounded(1);
        budget.on_release(ring);
        let held = budget.try_reserve("held", LIMIT).expect("it is free");
        let releases = spawn(move || drop(held));
        is_held(&budget);
        // As the supervisor does: what rang before the attempt is no news after it.
        let _ = freed.try_recv();
        let refused = budget.try_reserve("late", LIMIT).is_err();
        releases.join().expect("no panic");
        assert!(!refused || freed.try_recv().is_ok(), "refused, and never told that it would fit now");
    });
}

#[test]
fn a_limit_that_falls_takes_nothing_from_holders_and_grants_nothing_more() {
    in_every_order(|| {
        let total = Arc::new(AtomicU64::new(LIMIT.bytes()));
        let seen = total.clone();
        let read = move || MemoryReading {
            total: ByteSize::new(seen.load(Ordering::Acquire)),
            cgroup_limit: ByteSize::MAX,
            available: ByteSize::MAX,
            resident: ByteSize::ZERO,
        };
        let budget = MemoryBudget::new(1.0, read);
        let shrinks = spawn({
            let budget = budget.clone();
            move || {
                total.store(30, Ordering::Release);
                budget.refresh();
                budget.try_reserve("after", ByteSize::new(31)).is_err()
            }
        });
        let held = budget.try_reserve("held", ByteSize::new(60));
        assert!(shrinks.join().expect("no panic"), "granted above the limit it had read");
        let over = if held.is_ok() { 30 } else { 0 };
        assert_eq!(budget.overdraft(), ByteSize::new(over));
    });
}
