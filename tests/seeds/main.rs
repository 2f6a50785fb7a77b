//! What the five founding documents promise: one test, or more, for every row of every document.
//!
//! A test's name begins with its row: `s0_3_...` proves row 3 of document 0.

#[path = "../support/mod.rs"]
mod support;

mod s0;
mod s1;
mod s2;
mod s3;
mod s4;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use millpond::capability::{Task, TaskContext, Tasks};
use millpond::memory::MemoryBudget;
use millpond::pool::{Pool, PoolConfig};
use millpond::{ByteSize, Clock};

/// Each document's tests and rows.
const DOCUMENTS: [(&str, &[&str]); 5] = [
    (include_str!("s0.rs"), &["s0_1", "s0_2", "s0_3", "s0_4", "s0_5", "s0_6", "s0_7"]),
    (include_str!("s1.rs"), &["s1_1", "s1_2", "s1_3", "s1_4", "s1_5", "s1_6", "s1_7", "s1_8", "s1_9"]),
    (
        include_str!("s2.rs"),
        &["s2_1", "s2_2", "s2_3", "s2_4", "s2_5", "s2_6", "s2_7", "s2_8", "s2_9", "s2_10"],
    ),
    (
        include_str!("s3.rs"),
        &[
            "s3_1", "s3_2", "s3_3", "s3_4", "s3_5", "s3_6", "s3_7", "s3_8", "s3_9", "s3_10", "s3_11",
            "s3_12", "s3_13", "s3_14",
        ],
    ),
    (include_str!("s4.rs"), &["s4_1", "s4_2", "s4_3", "s4_4", "s4_5", "s4_6", "s4_7", "s4_8"]),
];

/// The names of the tests in a source file: an ignored one does not count.
fn tests_of(source: &str) -> Vec<&str> {
    let lines: Vec<&str> = source.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0] == "#[test]");
    pairs.filter_map(|pair| pair[1].strip_prefix("fn ")?.split('(').next()).collect()
}

#[test]
fn every_row_has_its_test_and_every_test_its_row() {
    let mut rows_seen = 0;
    for (source, rows) in DOCUMENTS {
        let proves = |test: &str, row: &str| test.strip_prefix(row).is_some_and(|rest| rest.starts_with('_'));
        let tests = tests_of(source);
        for row in rows {
            assert!(tests.iter().any(|test| proves(test, row)), "{row} has no test");
        }
        for test in &tests {
            assert!(rows.iter().any(|row| proves(test, row)), "{test} belongs to no row");
        }
        assert_eq!(source.matches("#[test]").count(), tests.len(), "a test that this list does not see");
        rows_seen += rows.len();
    }
    assert_eq!(rows_seen, 48);
}

/// A pool for closures under the key `"tasks"`, on a clock that stands still until it is moved.
fn task_pool(config: PoolConfig) -> (Pool<Tasks>, Clock) {
    let clock = Clock::manual();
    let budget = MemoryBudget::fixed(ByteSize::gib(1));
    let pool = Pool::builder().config(config).clock(clock.clone()).budget(budget).build().expect("a thread");
    pool.register_tasks("tasks").expect("a free key");
    (pool, clock)
}

/// A task that cannot fail.
fn task<T: Send + 'static>(run: impl Fn(&TaskContext) -> T + Send + Sync + 'static) -> Task {
    Task::new(move |context| Ok::<_, Infallible>(run(context)))
}

/// What a task returned.
fn value<T: 'static>(answer: millpond::capability::TaskValue) -> T {
    *answer.downcast().expect("the type that the task returns")
}

/// Lets other threads run until `done`. Only for what is certain to come and tells nobody that it has.
fn until(done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < patience, "what is certain to come did not");
        std::thread::yield_now();
    }
}

const SECOND: Duration = Duration::from_secs(1);
