//! The pool under load, for longer and with more at once than the other tests. As scaled here it takes seconds;
//! in full, with ten million jobs and 32 x 1,024 rounds:
//!
//! ```text
//! MILLPOND_STRESS_JOBS=10000000 cargo test --release --no-default-features --test stress -- --nocapture
//! ```

#[path = "../support/mod.rs"]
mod support;

mod jobs;
mod loads;
mod process;

/// How many jobs the run is scaled to.
fn jobs() -> usize {
    let asked = std::env::var("MILLPOND_STRESS_JOBS").ok();
    asked.map_or(200_000, |jobs| jobs.parse().expect("MILLPOND_STRESS_JOBS is a number"))
}

/// Load and unload rounds of each thread, by the same scale.
fn rounds() -> usize {
    (jobs() * 1024 / 10_000_000).clamp(32, 1024)
}
