//! The worker's state word.

use std::sync::Arc;

use loom::thread::spawn;

use crate::pool::state::{Limits, Pending, StateCell, WorkerState};
use crate::sync::in_every_order;

const ONE: Limits = Limits { jobs: 1, cost: u64::MAX };
const JOB: Pending = Pending { jobs: 1, cost: 3 };

fn serving() -> Arc<StateCell> {
    let cell = Arc::new(StateCell::new());
    assert!(cell.open());
    cell
}

#[test]
fn a_charged_worker_is_not_evicted_and_an_evicted_one_not_charged() {
    in_every_order(|| {
        let cell = serving();
        let evicts = spawn({
            let cell = cell.clone();
            move || cell.try_drain_idle()
        });
        let charged = cell.try_charge(3, ONE);
        let evicted = evicts.join().expect("no panic");
        assert_ne!(charged, evicted, "one of the two wins");
        assert_eq!(cell.state(), if evicted { WorkerState::Draining } else { WorkerState::Busy });
        assert_eq!(cell.pending(), if charged { JOB } else { Pending::default() });
    });
}

#[test]
fn room_for_one_is_charged_once() {
    in_every_order(|| {
        let cell = serving();
        let charge = || {
            let cell = cell.clone();
            spawn(move || cell.try_charge(3, ONE))
        };
        let (first, second) = (charge(), charge());
        let charged = [first.join(), second.join()].map(|charged| charged.expect("no panic"));
        assert_eq!(charged.iter().filter(|charged| **charged).count(), 1);
        assert_eq!(cell.pending(), JOB);
    });
}

#[test]
fn charges_and_discharges_add_up() {
    in_every_order(|| {
        let cell = serving();
        let two = Limits { jobs: 2, cost: u64::MAX };
        assert!(cell.try_charge(3, two));
        let ends = spawn({
            let cell = cell.clone();
            move || cell.discharge(JOB)
        });
        let trips = spawn({
            let cell = cell.clone();
            move || cell.trip(true)
        });
        let charged = cell.try_charge(5, two);
        ends.join().expect("no panic");
        trips.join().expect("no panic");
        let left = if charged { Pending { jobs: 1, cost: 5 } } else { Pending::default() };
        assert_eq!(cell.pending(), left);
        assert!(cell.is_tripped(), "the trip is not undone by those who did not see it");
    });
}

#[test]
fn a_worker_told_to_drain_while_loading_never_serves() {
    in_every_order(|| {
        let cell = Arc::new(StateCell::new());
        let loads = spawn({
            let cell = cell.clone();
            move || cell.open()
        });
        cell.drain();
        let opened = loads.join().expect("no panic");
        assert_eq!(cell.state(), WorkerState::Draining, "opened before: {opened}");
        assert!(!cell.try_charge(1, ONE));
    });
}

#[test]
fn failure_is_final_whoever_else_decides_something() {
    in_every_order(|| {
        let cell = serving();
        let fails = spawn({
            let cell = cell.clone();
            move || cell.fail()
        });
        let drains = spawn({
            let cell = cell.clone();
            move || cell.drain()
        });
        cell.try_charge(3, ONE);
        assert!(fails.join().expect("no panic"));
        drains.join().expect("no panic");
        assert_eq!(cell.state(), WorkerState::Failed);
        assert!(!cell.drain() && !cell.open() && !cell.try_charge(1, ONE));
    });
}
