//! Loads: many at once, and many one after the other.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::never;
use millpond::ByteSize;
use millpond::memory::{Footprint, MemoryBudget};
use millpond::pool::{LoadError, Loader};

use crate::process::{alone, pool_threads, resident};
use crate::support::{
    Act, Counts, PATIENCE, Script, Scripted, ScriptedModel, Weights, answer, config, pool, pool_within,
};

/// Takes its time to load.
struct Slow(Script);

const LOAD: Duration = Duration::from_millis(200);

impl Loader<Scripted> for Slow {
    type Weights = Weights;
    type Model = ScriptedModel;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        Loader::footprint(&self.0)
    }

    fn load(&self) -> Result<Weights, LoadError> {
        let _ = never::<()>().recv_timeout(LOAD);
        Loader::load(&self.0)
    }

    fn build(&self, weights: &Arc<Weights>) -> Result<ScriptedModel, LoadError> {
        Loader::build(&self.0, weights)
    }
}

/// The one test of real time: eight loads that only wait need no more than twice the time of one, on a
/// machine that is busy with other things too. One of three attempts must show it.
#[test]
fn eight_loads_of_200_ms_each_take_less_than_400_ms() {
    let _alone = alone();
    let mut took = Vec::new();
    for _ in 0..3 {
        let (pool, _) = pool(config(), &Script::new());
        for i in 0..8 {
            pool.register(format!("slow-{i}").as_str(), Slow(Script::new())).unwrap();
        }
        let began = Instant::now();
        thread::scope(|scope| {
            for i in 0..8 {
                let pool = &pool;
                scope.spawn(move || pool.preload(format!("slow-{i}")).unwrap());
            }
        });
        took.push(began.elapsed());
        if took.last() < Some(&(LOAD * 2)) {
            return;
        }
    }
    panic!("{took:?}");
}

/// Criterion C11: 32 threads x 1,024 rounds on one key, no error. Here 32 rounds unless asked otherwise.
#[test]
fn row_10_a_storm_of_loads_and_unloads_on_one_key_ends_without_an_error() {
    let _alone = alone();
    let (rounds, before) = (crate::rounds(), pool_threads());
    let budget = MemoryBudget::fixed(ByteSize::new(5000));
    let script = Script::new().bytes(1000, 10);
    let mut config = config().workers(2);
    config.min_workers = 0;
    config.request_timeout = Duration::MAX;
    let (pool, _) = pool_within(config, &script, &budget);
    pool.preload("model").unwrap();
    let resident_before = resident();
    let began = Instant::now();
    thread::scope(|scope| {
        for i in 0..32 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..rounds {
                    pool.preload("model").unwrap();
                    if (i + round) % 8 == 0 {
                        let number = (i * rounds + round) as u64;
                        assert_eq!(
                            answer(pool.submit("model", Act::Answer(number)).unwrap()).unwrap(),
                            number
                        );
                    }
                    pool.unload("model").unwrap();
                    assert!(pool.budget().reserved() <= pool.budget().limit());
                }
            });
        }
    });
    pool.unload("model").unwrap();
    assert_eq!(budget.reserved(), ByteSize::ZERO);
    let counts = &script.counts;
    assert_eq!(Counts::get(&counts.loads), Counts::get(&counts.weights_dropped));
    assert_eq!(Counts::get(&counts.builds), Counts::get(&counts.drops));
    let grown = resident().saturating_sub(resident_before);
    assert!(grown <= 32 << 20, "grew by {grown} bytes");
    println!("32 x {rounds} rounds in {:.1?}: {} loads", began.elapsed(), Counts::get(&counts.loads));
    pool.shutdown(PATIENCE).unwrap();
    assert_eq!(pool_threads(), before);
}
