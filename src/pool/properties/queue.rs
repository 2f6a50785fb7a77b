//! The queue beside an unsorted list that is searched each time.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::config;
use crate::clock::Timestamp;
use crate::pool::queue::{Order, Queue, Refused, Waiting};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    number: u64,
    priority: i32,
    submitted: Timestamp,
    deadline: Timestamp,
    order: Order,
    /// Only the model's: until when it waits for its next attempt.
    delayed: Option<Timestamp>,
}

impl Waiting for Item {
    fn order(&self) -> Order {
        self.order
    }

    fn deadline(&self) -> Timestamp {
        self.deadline
    }

    fn submitted(&self) -> Timestamp {
        self.submitted
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push { priority: i32, timeout: u64 },
    Pop,
    PopAndPutBack,
    PopAndDelay(u64),
    Advance(u64),
    WakeDelayed,
    TakeOverdue,
    RemoveNth(usize),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (-3..4i32, 1..60u64).prop_map(|(priority, timeout)| Op::Push { priority, timeout }),
        4 => Just(Op::Pop),
        1 => Just(Op::PopAndPutBack),
        2 => (0..30u64).prop_map(Op::PopAndDelay),
        4 => (0..15u64).prop_map(Op::Advance),
        2 => Just(Op::WakeDelayed),
        2 => Just(Op::TakeOverdue),
        1 => (0..8usize).prop_map(Op::RemoveNth),
        1 => Just(Op::Close),
    ]
}

/// What the documentation says, and nothing clever.
struct Model {
    items: Vec<Item>,
    step: u64,
    capacity: usize,
    closed: bool,
    now: u64,
    number: u64,
}

impl Model {
    /// Of two that wait now, the one with the higher priority goes first, where each ageing step of waiting
    /// is worth one more priority; of equals, the one that came first.
    fn first(&self) -> Option<usize> {
        let urgency = |item: &Item| {
            let waited = i128::from(self.now) - i128::from(item.submitted.0);
            i128::from(item.priority) * i128::from(self.step) + waited
        };
        let ready = self.items.iter().enumerate().filter(|(_, item)| item.delayed.is_none());
        ready.max_by_key(|(_, item)| (urgency(item), std::cmp::Reverse(item.number))).map(|(index, _)| index)
    }

    fn pop(&mut self) -> Option<Item> {
        self.first().map(|index| self.items.remove(index))
    }

    fn new_item(&mut self, priority: i32, timeout: u64) -> Item {
        self.number += 1;
        let (submitted, number) = (Timestamp(self.now), self.number);
        let order = Order::new(submitted, priority, Duration::from_nanos(self.step), number);
        Item { number, priority, submitted, deadline: Timestamp(self.now + timeout), order, delayed: None }
    }

    fn next_due(&self) -> Timestamp {
        let deadlines = self.items.iter().map(|item| item.deadline);
        deadlines.chain(self.items.iter().filter_map(|item| item.delayed)).min().unwrap_or(Timestamp::NEVER)
    }

    fn take(&mut self, wanted: impl Fn(&Item) -> bool) -> Vec<u64> {
        let (out, stay) = std::mem::take(&mut self.items).into_iter().partition(|item| wanted(item));
        self.items = stay;
        sorted(out)
    }
}

fn sorted(items: Vec<Item>) -> Vec<u64> {
    let mut numbers: Vec<u64> = items.into_iter().map(|item| item.number).collect();
    numbers.sort_unstable();
    numbers
}

fn number(item: Option<&Item>) -> Option<u64> {
    item.map(|item| item.number)
}

fn apply(op: &Op, queue: &mut Queue<Item>, model: &mut Model) -> Result<(), TestCaseError> {
    match *op {
        Op::Push { priority, timeout } => {
            let item = model.new_item(priority, timeout);
            let full = model.capacity != 0 && model.items.len() >= model.capacity;
            let refused = if model.closed { Some(Refused::Closed) } else { full.then_some(Refused::Full) };
            let expected = refused.map_or(Ok(()), |refused| Err((item.clone(), refused)));
            if expected.is_ok() {
                model.items.push(item.clone());
            }
            prop_assert_eq!(queue.push(item), expected);
        }
        Op::Pop => prop_assert_eq!(number(queue.pop().as_ref()), number(model.pop().as_ref())),
        Op::PopAndPutBack => {
            if let Some(item) = queue.pop() {
                queue.put_back(item);
            }
        }
        Op::PopAndDelay(pause) => {
            let at = Timestamp(model.now + pause);
            if let Some(item) = queue.pop() {
                queue.delay(item, at);
            }
            if let Some(item) = model.pop() {
                model.items.push(Item { delayed: Some(at), ..item });
            }
        }
        Op::Advance(by) => model.now += by,
        Op::WakeDelayed => {
            queue.wake_delayed(Timestamp(model.now));
            for item in &mut model.items {
                item.delayed = item.delayed.filter(|at| at.0 > model.now);
            }
        }
        Op::TakeOverdue => {
            let now = Timestamp(model.now);
            prop_assert_eq!(sorted(queue.take_overdue(now)), model.take(|item| item.deadline <= now));
        }
        Op::RemoveNth(n) => {
            let order = model.items.get(n).map(|item| item.order);
            let order = order.unwrap_or(Order::new(Timestamp::NEVER, 0, Duration::ZERO, u64::MAX));
            let removed = queue.remove(order);
            let expected = (n < model.items.len()).then(|| model.items.remove(n));
            prop_assert_eq!(number(removed.as_ref()), number(expected.as_ref()));
        }
        Op::Close => {
            queue.close();
            model.closed = true;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_queue_does_what_the_list_does(step in 0..20u64, capacity in 0..12usize, ops in vec(op(), 0..80)) {
        let mut queue = Queue::new(capacity);
        let mut model = Model { items: Vec::new(), step, capacity, closed: false, now: 0, number: 0 };
        for op in &ops {
            apply(op, &mut queue, &mut model)?;
            prop_assert_eq!(number(queue.peek()), number(model.first().map(|first| &model.items[first])));
            prop_assert_eq!(queue.len(), model.items.len());
            let ready: Vec<_> = model.items.iter().filter(|item| item.delayed.is_none()).collect();
            prop_assert_eq!(queue.ready(), ready.len());
            prop_assert_eq!(queue.oldest(), ready.iter().map(|item| item.submitted).min());
            prop_assert_eq!(queue.next_due(), model.next_due());
        }
        prop_assert_eq!(sorted(queue.take_all()), sorted(std::mem::take(&mut model.items)));
        prop_assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_low_priority_is_passed_only_for_a_bounded_time(
        submitted: u64,
        low: i32,
        above: u32,
        step in 0..u64::MAX / 4,
        later: u64,
    ) {
        let high = low.saturating_add_unsigned(above);
        let order = |at, priority, number| {
            Order::new(Timestamp(at), priority, Duration::from_nanos(step), number)
        };
        let waits = order(submitted, low, 1);
        let bound = u128::from(high.abs_diff(low)) * u128::from(step);
        let comes = submitted.saturating_add(later);
        let passes = order(comes, high, 2) < waits;
        prop_assert_eq!(passes, u128::from(comes - submitted) < bound);
    }
}
