//! Row 22: one bad request in a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::capability::{BatchModel, Batched, Capability, Capacity, InvalidRequest, ModelError};
use millpond::memory::Footprint;
use millpond::pool::{BuildWith, LoadError, Loader, Pool, PoolError};

use crate::support::Gate;

struct Roots;

impl Capability for Roots {
    const NAME: &'static str = "roots";
    type Request = f64;
    type Event = ();
    type Output = f64;
}

/// Refuses a batch that has a negative number in it; blocks on zero.
struct RootModel {
    gate: Gate,
    runs: Arc<AtomicUsize>,
    short: bool,
}

impl BatchModel<Roots> for RootModel {
    fn capacity(&self) -> Capacity {
        Capacity::jobs(16)
    }

    fn run(&mut self, batch: &[f64]) -> Result<Vec<Result<f64, ModelError>>, ModelError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        if batch.contains(&0.0) {
            self.gate.pass();
        }
        if batch.iter().any(|x| *x < 0.0) {
            return Err(ModelError::Numeric("the root of a negative number".into()));
        }
        let missing = usize::from(self.short && batch.len() > 1);
        Ok(batch.iter().skip(missing).map(|x| Ok(x.sqrt())).collect())
    }
}

fn roots(short: bool) -> (Pool<Roots>, Gate, Arc<AtomicUsize>) {
    let (gate, runs) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let (g, r) = (gate.clone(), runs.clone());
    let pool = Pool::<Roots>::builder().config(crate::support::config()).build().unwrap();
    let model = move || Batched::new(RootModel { gate: g.clone(), runs: r.clone(), short });
    pool.register("roots", BuildWith::new(model)).unwrap();
    (pool, gate, runs)
}

/// Everything submitted while the first is held is the next batch.
fn batch(pool: &Pool<Roots>, gate: &Gate, requests: &[f64]) -> Vec<Result<f64, PoolError>> {
    let first = pool.submit("roots", 0.0).unwrap();
    gate.wait_entered();
    let tickets: Vec<_> = requests.iter().map(|x| pool.submit("roots", *x).unwrap()).collect();
    gate.open();
    first.wait().unwrap();
    tickets.into_iter().map(millpond::pool::Ticket::wait).collect()
}

#[test]
fn row_22_one_bad_item_fails_alone_and_the_others_are_bit_equal() {
    let (pool, gate, runs) = roots(false);
    let results = batch(&pool, &gate, &[2.0, 3.0, -1.0, 5.0]);
    for (result, x) in results.iter().zip([2.0_f64, 3.0, -1.0, 5.0]) {
        match result {
            Ok(root) => assert_eq!(root.to_bits(), x.sqrt().to_bits()),
            Err(error) => {
                assert!(x < 0.0);
                assert!(matches!(error, PoolError::ModelError { source: ModelError::Numeric(_), .. }));
            }
        }
    }
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    assert_eq!(runs.load(Ordering::SeqCst), 1 + 1 + 4, "together once, then each once");
}

#[test]
fn row_22_a_batch_without_bad_items_runs_once() {
    let (pool, gate, runs) = roots(false);
    assert!(batch(&pool, &gate, &[2.0; 15]).iter().all(Result::is_ok));
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[test]
fn row_22_a_model_that_miscounts_answers_nobody_with_anothers_answer() {
    let (pool, gate, _) = roots(true);
    for (result, x) in batch(&pool, &gate, &[4.0, 9.0, 16.0]).into_iter().zip([2.0_f64, 3.0, 4.0]) {
        assert_eq!(result.unwrap().to_bits(), x.to_bits());
    }
}

/// Validation happens before batching, on the caller's thread.
#[test]
fn row_22_what_validation_refuses_reaches_no_batch() {
    struct Picky(Gate, Arc<AtomicUsize>);
    impl Loader<Roots> for Picky {
        type Weights = ();
        type Model = Batched<Roots, RootModel>;
        fn footprint(&self) -> Result<Footprint, LoadError> {
            Ok(Footprint::default())
        }
        fn load(&self) -> Result<(), LoadError> {
            Ok(())
        }
        fn build(&self, _: &Arc<()>) -> Result<Self::Model, LoadError> {
            Ok(Batched::new(RootModel { gate: self.0.clone(), runs: self.1.clone(), short: false }))
        }
        fn validate(&self, x: &f64) -> Result<(), InvalidRequest> {
            if *x < 0.0 { Err(InvalidRequest::new("x", "must not be negative")) } else { Ok(()) }
        }
    }
    let (pool, _, _) = roots(false);
    let runs = Arc::new(AtomicUsize::new(0));
    pool.register("picky", Picky(Gate::new(), runs.clone())).unwrap();
    let refused = pool.submit("picky", -1.0).unwrap_err();
    let PoolError::InvalidRequest { source, .. } = refused.error else { panic!("{refused}") };
    assert_eq!(source.field, "x");
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    assert!(!pool.has_workers("picky"), "nothing is loaded for it");
}
