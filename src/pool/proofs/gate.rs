//! Waiting until nothing is under way.

use std::sync::Arc;
use std::time::Duration;

use loom::thread::spawn;

use crate::pool::gate::Gate;
use crate::sync::in_every_order;

#[test]
fn who_waits_for_the_last_request_is_woken_by_it() {
    in_every_order(|| {
        let gate = Arc::new(Gate::default());
        gate.enter();
        gate.enter();
        let leaves = || {
            let gate = gate.clone();
            spawn(move || gate.leave())
        };
        let (first, second) = (leaves(), leaves());
        // Loom's time stands still: a missed notification would block for ever, and be reported.
        assert!(gate.wait_empty(Duration::MAX));
        assert_eq!(gate.under_way(), 0);
        first.join().expect("no panic");
        second.join().expect("no panic");
    });
}

#[test]
fn a_request_turned_away_is_not_waited_for() {
    in_every_order(|| {
        let gate = Arc::new(Gate::default());
        gate.enter();
        let turned_away = spawn({
            let gate = gate.clone();
            move || gate.turn_away()
        });
        assert!(gate.wait_empty(Duration::MAX));
        turned_away.join().expect("no panic");
        assert_eq!(gate.accepted(), 0);
    });
}
