//! The pool's pure parts beside plain models of them, over inputs that nobody would think of.

mod breaker;
mod choices;
mod queue;
mod rate_limit;
mod scale;
mod state;

use proptest::test_runner::Config;

fn config() -> Config {
    Config { cases: 300, failure_persistence: None, ..Config::default() }
}
