//! The slot where a caller and the one who answers meet.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::thread::{Thread, spawn};

use crate::clock::Timestamp;
use crate::pool::slot::{EventLimits, Pushed, ReplySlot};
use crate::sync::in_every_order;

type Slot = Arc<ReplySlot<u64, u64>>;

const LIMITS: EventLimits = EventLimits { capacity: 4, grace: Duration::MAX };

fn slot() -> Slot {
    Arc::new(ReplySlot::new())
}

fn answers(slot: &Slot, outcome: u64) -> loom::thread::JoinHandle<()> {
    let slot = slot.clone();
    spawn(move || slot.answer(outcome))
}

/// Unparks the thread that awaits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until ready, parking between, as the simplest executor does.
fn block_on<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(loom::thread::current())));
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        loom::thread::park();
    }
}

#[test]
fn a_thread_that_waits_gets_the_answer() {
    in_every_order(|| {
        let slot = slot();
        let answers = answers(&slot, 7);
        assert_eq!(slot.wait(None), Some(7));
        answers.join().expect("no panic");
        assert_eq!(slot.wait_briefly(Duration::ZERO), None, "it is taken once");
    });
}

#[test]
fn a_task_that_awaits_gets_the_answer() {
    in_every_order(|| {
        let slot = slot();
        let answers = answers(&slot, 7);
        assert_eq!(block_on(|context| slot.poll(context)), 7);
        answers.join().expect("no panic");
    });
}

#[test]
fn whoever_sees_the_end_finds_the_answer() {
    in_every_order(|| {
        let slot = slot();
        let answers = answers(&slot, 7);
        if slot.is_ended() {
            assert_eq!(slot.wait_briefly(Duration::ZERO), Some(7));
        }
        answers.join().expect("no panic");
    });
}

#[test]
fn a_callback_asked_for_is_called_whenever_the_answer_comes() {
    in_every_order(|| {
        let slot = slot();
        let answers = answers(&slot, 7);
        slot.wake_when_ended(Waker::from(Arc::new(Unpark(loom::thread::current()))));
        // Not woken, it would park for ever.
        loom::thread::park();
        assert!(slot.is_ended());
        answers.join().expect("no panic");
    });
}

#[test]
fn a_reader_gets_every_event_in_order_and_then_the_answer() {
    in_every_order(|| {
        let slot = slot();
        let reports = spawn({
            let slot = slot.clone();
            move || {
                assert_eq!(slot.push_event(1, Timestamp::default(), LIMITS), Pushed::Kept);
                assert_eq!(slot.push_event(2, Timestamp::default(), LIMITS), Pushed::Kept);
                slot.answer(7);
            }
        });
        let next = || slot.next_event(Timestamp::default, None);
        assert_eq!([next(), next(), next()], [Ok(Some(1)), Ok(Some(2)), Ok(None)]);
        assert_eq!(slot.wait(None), Some(7));
        reports.join().expect("no panic");
    });
}

#[test]
fn a_task_gets_every_event_and_then_the_answer() {
    in_every_order(|| {
        let slot = slot();
        let reports = spawn({
            let slot = slot.clone();
            move || {
                slot.push_event(1, Timestamp::default(), LIMITS);
                slot.answer(7);
            }
        });
        let next = || block_on(|context| slot.poll_event(Timestamp::default(), context));
        assert_eq!([next(), next()], [Some(1), None]);
        assert_eq!(block_on(|context| slot.poll(context)), 7);
        reports.join().expect("no panic");
    });
}

#[test]
fn an_event_alone_wakes_its_reader() {
    in_every_order(|| {
        let slot = slot();
        let reports = |event| {
            let slot = slot.clone();
            spawn(move || assert_eq!(slot.push_event(event, Timestamp::default(), LIMITS), Pushed::Kept))
        };
        let first = reports(1);
        assert_eq!(slot.next_event(Timestamp::default, None), Ok(Some(1)));
        first.join().expect("no panic");
        let second = reports(2);
        assert_eq!(block_on(|context| slot.poll_event(Timestamp::default(), context)), Some(2));
        second.join().expect("no panic");
    });
}

#[test]
fn canceling_neither_loses_the_answer_nor_keeps_the_worker() {
    in_every_order(|| {
        let slot = slot();
        let works = spawn({
            let slot = slot.clone();
            move || {
                let noticed = slot.is_canceled();
                slot.push_event(1, Timestamp::default(), LIMITS);
                slot.answer(if noticed { 0 } else { 7 });
            }
        });
        slot.cancel();
        slot.ignore_events();
        works.join().expect("no panic");
        assert!(slot.is_canceled() && slot.is_ended());
        assert!(slot.wait_briefly(Duration::ZERO).is_some());
    });
}
