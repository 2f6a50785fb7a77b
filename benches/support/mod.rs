//! What the benches share: models that do nothing or spin, and measuring two things in turn.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each bench uses its own part")]

use std::time::{Duration, Instant};

use millpond::capability::{Capability, Capacity, JobContext, Model, ModelError, NoEvent, Outbox, Slot};
use millpond::pool::{BuildWith, Pool, PoolConfig};

/// A capability whose model gives every number back.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl Capability for Echo {
    const NAME: &'static str = "echo";
    type Request = u64;
    type Event = NoEvent;
    type Output = u64;
}

/// Answers everything admitted with itself, after spinning for as many nanoseconds as the request says if it
/// is told to.
#[derive(Debug)]
pub struct EchoModel {
    jobs: u32,
    spin: bool,
    admitted: Vec<(Slot, u64)>,
}

impl Model<Echo> for EchoModel {
    fn capacity(&self) -> Capacity {
        Capacity::jobs(self.jobs)
    }

    fn admit(&mut self, slot: Slot, request: u64, _: &JobContext) -> Result<(), ModelError> {
        self.admitted.push((slot, request));
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<Echo>) -> Result<(), ModelError> {
        for (slot, request) in self.admitted.drain(..) {
            if self.spin {
                let until = Instant::now() + Duration::from_nanos(request);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
            out.finish(slot, request);
        }
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.admitted.retain(|(other, _)| *other != slot);
    }
}

/// A loader of [`EchoModel`]s that take `jobs` requests at once.
pub fn echo(jobs: u32, spin: bool) -> BuildWith<impl Fn() -> EchoModel + Send + Sync + 'static> {
    BuildWith::new(move || EchoModel { jobs, spin, admitted: Vec::new() })
}

/// A pool whose key `"0"` has `workers` echo workers, loaded.
pub fn pool(workers: usize, jobs: u32, spin: bool) -> Pool<Echo> {
    let pool = Pool::new(PoolConfig::default().workers(workers)).expect("a thread");
    pool.register("0", echo(jobs, spin)).expect("a free key");
    pool.preload("0").expect("an echo loads");
    pool
}

/// The median of some figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The share `q` of some figures is not above this.
pub fn quantile(figures: &mut [f64], q: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[((figures.len() - 1) as f64 * q) as usize]
}

/// Measures things in turn, `rounds` times each, so that a drifting machine drifts for all. Returns the
/// figures of each.
pub fn in_turn(rounds: usize, measures: &mut [(&str, &mut dyn FnMut() -> f64)]) -> Vec<Vec<f64>> {
    let mut figures = vec![Vec::new(); measures.len()];
    for _ in 0..rounds {
        for (index, (_, measure)) in measures.iter_mut().enumerate() {
            figures[index].push(measure());
        }
    }
    figures
}

/// Prints a row a measure: lowest, median and highest figure, and the median of its ratio to the first
/// measure, pair by pair.
pub fn print_beside(title: &str, unit: &str, names: &[&str], figures: &[Vec<f64>]) {
    println!("\n{title}");
    println!("{:<44} {:>10} {:>10} {:>10} {:>9}", unit, "lowest", "median", "highest", "ratio");
    for (name, row) in names.iter().zip(figures) {
        let ratio = median(row.iter().zip(&figures[0]).map(|(own, first)| own / first).collect());
        let (low, high) = row.iter().fold((f64::MAX, 0.0f64), |(low, high), x| (low.min(*x), high.max(*x)));
        println!("{name:<44} {low:>10.1} {:>10.1} {high:>10.1} {ratio:>9.2}", median(row.clone()));
    }
}

/// What the process occupies now, in bytes.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Whether the bench was asked for a quick look: `--test`, as `cargo test --benches` passes it.
pub fn quick() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

/// Whether a figure of this name is wanted: the command line names a part of it, or nothing.
pub fn asked(name: &str) -> bool {
    // criterion's options that a word of their own follows.
    const WITH_VALUE: [&str; 6] = [
        "--save-baseline",
        "--baseline",
        "--baseline-lenient",
        "--load-baseline",
        "--sample-size",
        "--measurement-time",
    ];
    let (mut wanted, mut words) = (Vec::new(), std::env::args().skip(1));
    while let Some(word) = words.next() {
        if WITH_VALUE.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') {
            wanted.push(word);
        }
    }
    wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str()))
}
