//! The ledger beside a list of what everybody holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::bounded;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::budget::{MemoryBudget, Reservation};
use super::probe::MemoryReading;
use crate::id::ByteSize;

#[derive(Clone, Debug)]
enum Op {
    Reserve(u64),
    WouldFit(u64),
    Settle(usize, u64),
    Split(usize, u64),
    Release(usize),
    Total(u64),
    Available(u64),
    Refresh,
    Cap(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || prop_oneof![9 => 0..500u64, 1 => any::<u64>()];
    prop_oneof![
        6 => bytes().prop_map(Op::Reserve),
        1 => bytes().prop_map(Op::WouldFit),
        3 => (0..6usize, bytes()).prop_map(|(index, bytes)| Op::Settle(index, bytes)),
        1 => (0..6usize, bytes()).prop_map(|(index, bytes)| Op::Split(index, bytes)),
        3 => (0..6usize).prop_map(Op::Release),
        1 => bytes().prop_map(Op::Total),
        1 => bytes().prop_map(Op::Available),
        1 => Just(Op::Refresh),
        1 => bytes().prop_map(Op::Cap),
    ]
}

#[derive(Default)]
struct Machine {
    total: AtomicU64,
    available: AtomicU64,
}

/// What the budget should know: the last reading, the cap, and what each holder holds and has not yet taken.
struct Model {
    total: u64,
    available: u64,
    cap: u64,
    held: Vec<(Reservation, u64, u64)>,
}

impl Model {
    fn limit(&self) -> u64 {
        self.total.min(self.cap)
    }

    fn reserved(&self) -> u64 {
        self.held.iter().map(|(_, bytes, _)| bytes).sum()
    }

    fn free(&self) -> u64 {
        let promised: u64 = self.held.iter().map(|(.., promised)| promised).sum();
        let by_limit = self.limit().saturating_sub(self.reserved());
        by_limit.min(self.available.saturating_sub(promised))
    }

    fn read(&mut self, machine: &Machine) {
        self.total = machine.total.load(Ordering::Relaxed);
        self.available = machine.available.load(Ordering::Relaxed);
    }
}

fn apply(op: &Op, budget: &MemoryBudget, machine: &Machine, model: &mut Model) -> Result<(), TestCaseError> {
    match *op {
        Op::Reserve(bytes) => {
            let (free, fits) = (model.free(), bytes <= model.free());
            let reserved = budget.try_reserve("some", ByteSize::new(bytes));
            prop_assert_eq!(reserved.is_ok(), fits);
            match reserved {
                Ok(reservation) => model.held.push((reservation, bytes, bytes)),
                Err(over) => {
                    prop_assert_eq!((over.need.bytes(), over.free.bytes()), (bytes, free));
                    prop_assert!(!over.to_string().is_empty());
                }
            }
        }
        Op::WouldFit(bytes) => {
            prop_assert_eq!(budget.would_fit(ByteSize::new(bytes)).is_ok(), bytes <= model.free());
        }
        Op::Settle(index, actual) if index < model.held.len() => {
            model.read(machine);
            let (limit, others) = (model.limit(), model.reserved() - model.held[index].1);
            let (reservation, bytes, promised) = &mut model.held[index];
            let fits = actual <= *bytes || u128::from(others) + u128::from(actual) <= u128::from(limit);
            prop_assert_eq!(reservation.settle(ByteSize::new(actual)).is_ok(), fits);
            *promised = 0;
            if fits {
                *bytes = actual;
            }
            prop_assert_eq!(reservation.bytes().bytes(), *bytes);
        }
        Op::Split(index, bytes) if index < model.held.len() => {
            let (whole, held, promised) = &mut model.held[index];
            let part = whole.split("part", ByteSize::new(bytes));
            let parted = bytes.min(*held);
            *held -= parted;
            // What was not yet taken from the system is counted with whoever can still take it.
            let still = (*promised).min(*held);
            let moved = *promised - still;
            *promised = still;
            prop_assert_eq!((whole.bytes().bytes(), part.bytes().bytes()), (*held, parted));
            model.held.push((part, parted, moved));
        }
        Op::Release(index) if index < model.held.len() => drop(model.held.swap_remove(index)),
        Op::Settle(..) | Op::Split(..) | Op::Release(_) => {}
        Op::Total(bytes) => machine.total.store(bytes, Ordering::Relaxed),
        Op::Available(bytes) => machine.available.store(bytes, Ordering::Relaxed),
        Op::Refresh => {
            budget.refresh();
            model.read(machine);
        }
        Op::Cap(bytes) => {
            budget.set_cap(ByteSize::new(bytes));
            model.cap = bytes;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_ledger_holds_what_its_holders_hold(ops in vec(op(), 0..80)) {
        let machine = Arc::new(Machine::default());
        machine.total.store(1000, Ordering::Relaxed);
        machine.available.store(800, Ordering::Relaxed);
        let seen = machine.clone();
        let budget = MemoryBudget::new(1.0, move || MemoryReading {
            total: ByteSize::new(seen.total.load(Ordering::Relaxed)),
            cgroup_limit: ByteSize::MAX,
            available: ByteSize::new(seen.available.load(Ordering::Relaxed)),
            resident: ByteSize::ZERO,
        });
        let mut model = Model { total: 1000, available: 800, cap: u64::MAX, held: Vec::new() };
        for op in &ops {
            let before = budget.reserved();
            apply(op, &budget, &machine, &mut model)?;
            let status = budget.status();
            prop_assert_eq!(status.reserved.bytes(), model.reserved());
            prop_assert_eq!(status.free.bytes(), model.free());
            prop_assert_eq!(status.limit.bytes(), model.limit());
            let listed: ByteSize = status.holders.iter().map(|holder| holder.bytes).sum();
            prop_assert_eq!(listed, status.reserved);
            // Only a limit that fell can be below what is reserved, and then nothing is added.
            prop_assert!(status.reserved <= status.limit || status.reserved <= before);
            prop_assert_eq!(budget.overdraft().bytes(), model.reserved().saturating_sub(model.limit()));
        }
        model.held.clear();
        prop_assert_eq!(budget.status().reserved, ByteSize::ZERO);
        prop_assert_eq!(budget.status().holders, []);
    }
}

#[test]
fn a_cap_holds_at_once_and_who_was_refused_hears_of_a_higher_one() {
    let [low, high] = [60, 100].map(ByteSize::new);
    let budget = MemoryBudget::fixed(high);
    let held = budget.try_reserve("held", ByteSize::new(70)).unwrap();
    budget.set_cap(low);
    assert_eq!((budget.limit(), budget.reserved(), budget.overdraft().bytes()), (low, held.bytes(), 10));
    assert_eq!(budget.try_reserve("late", ByteSize::new(1)).unwrap_err().limit, low);
    budget.refresh();
    assert_eq!(budget.limit(), low, "no reading undoes it");
    let (ring, higher) = bounded(1);
    budget.on_release(ring);
    budget.set_cap(high);
    higher.try_recv().unwrap();
    let late = budget.try_reserve("late", ByteSize::new(30)).unwrap();
    assert_eq!(budget.reserved().bytes(), held.bytes().bytes() + late.bytes().bytes());
}
