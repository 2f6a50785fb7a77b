//! The state word beside a struct with a field for everything.

use proptest::collection::vec;
use proptest::prelude::*;

use super::config;
use crate::pool::state::{Limits, Pending, StateCell, WorkerState, weighed};

#[derive(Clone, Debug)]
enum Op {
    Open,
    Charge { cost: u64, limits: Limits },
    DischargeFirst,
    DischargeAll,
    Drain,
    DrainIdle,
    Fail,
    FailLeaving,
    Stop,
    Trip(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let cost = prop_oneof![0..10u64, any::<u64>()];
    let limits = (1..5u64, prop_oneof![0..20u64, Just(u64::MAX)]);
    prop_oneof![
        3 => Just(Op::Open),
        10 => (cost, limits).prop_map(|(cost, (jobs, most))| {
            Op::Charge { cost: weighed(cost), limits: Limits { jobs, cost: most } }
        }),
        5 => Just(Op::DischargeFirst),
        1 => Just(Op::DischargeAll),
        1 => Just(Op::Drain),
        2 => Just(Op::DrainIdle),
        1 => Just(Op::Fail),
        1 => Just(Op::FailLeaving),
        1 => Just(Op::Stop),
        2 => any::<bool>().prop_map(Op::Trip),
    ]
}

/// `state` never says Busy here: that is Ready with jobs.
struct Model {
    state: WorkerState,
    tripped: bool,
    costs: Vec<u64>,
}

impl Model {
    fn pending(&self) -> Pending {
        Pending { jobs: self.costs.len() as u64, cost: self.costs.iter().sum() }
    }

    fn apply(&mut self, op: &Op) -> bool {
        use WorkerState::{Draining, Failed, Loading, Ready, Stopped};
        let before = self.state;
        match *op {
            Op::Open => {
                if before == Loading {
                    self.state = Ready;
                }
                before == Loading
            }
            Op::Charge { cost, limits } => {
                let sum = self.pending().cost + cost;
                let room =
                    self.costs.is_empty() || (self.costs.len() < limits.jobs as usize && sum <= limits.cost);
                let charged = before == Ready && !self.tripped && room;
                self.costs.extend(charged.then_some(cost));
                charged
            }
            Op::DischargeFirst => !self.costs.is_empty() && self.costs.remove(0) > 0,
            Op::DischargeAll => std::mem::take(&mut self.costs).is_empty(),
            Op::Drain | Op::DrainIdle => {
                let idle = before == Ready && self.costs.is_empty();
                let drains = matches!((op, before), (Op::Drain, Loading | Ready)) || idle;
                if drains {
                    self.state = Draining;
                }
                drains
            }
            Op::Fail | Op::FailLeaving => {
                if before != Stopped {
                    self.state = Failed;
                }
                if matches!(op, Op::Fail) { before != Stopped } else { before == Draining }
            }
            Op::Stop => {
                self.state = Stopped;
                true
            }
            Op::Trip(tripped) => {
                self.tripped = tripped;
                true
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_word_does_what_the_struct_does(ops in vec(op(), 0..60)) {
        let cell = StateCell::new();
        let mut model = Model { state: WorkerState::Loading, tripped: false, costs: Vec::new() };
        for op in &ops {
            let first = model.costs.first().copied();
            let all = model.pending();
            let expected = model.apply(op);
            let did = match *op {
                Op::Open => cell.open(),
                Op::Charge { cost, limits } => cell.try_charge(cost, limits),
                Op::DischargeFirst => first.is_some_and(|cost| {
                    cell.discharge(Pending { jobs: 1, cost }) == model.pending()
                }),
                Op::DischargeAll => cell.discharge(all) == Pending::default() && all.jobs == 0,
                Op::Drain => cell.drain(),
                Op::DrainIdle => cell.try_drain_idle(),
                Op::Fail => cell.fail(),
                Op::FailLeaving => cell.fail_leaving(),
                Op::Stop => { cell.stop(); true }
                Op::Trip(tripped) => { cell.trip(tripped); true }
            };
            prop_assert_eq!(did, expected, "{:?}", op);
            let busy = model.state == WorkerState::Ready && !model.costs.is_empty();
            prop_assert_eq!(cell.state(), if busy { WorkerState::Busy } else { model.state });
            prop_assert_eq!(cell.pending(), model.pending());
            prop_assert_eq!(cell.is_tripped(), model.tripped);
            prop_assert_eq!(cell.takes_jobs(), model.state == WorkerState::Ready && !model.tripped);
        }
    }
}

#[test]
fn as_many_of_the_heaviest_jobs_as_can_be_counted_fit_the_word() {
    let cell = StateCell::new();
    assert!(cell.open());
    let (limits, cost) = (Limits { jobs: 0xffff, cost: u64::MAX }, weighed(u64::MAX));
    assert!((0..0xffff).all(|_| cell.try_charge(cost, limits)));
    assert!(!cell.try_charge(cost, limits), "no more than that");
    assert_eq!(cell.pending(), Pending { jobs: 0xffff, cost: 0xffff * cost });
    assert_eq!(cell.state(), WorkerState::Busy, "the count has not spilt into its neighbours");
    assert_eq!(cell.discharge(cell.pending()), Pending::default());
}
