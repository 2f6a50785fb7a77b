//! How many threads one operation may use.
//!
//! Cores are a budget, like memory: N workers of k threads each need N x k of them. A worker takes its k
//! threads when it starts, and all it computes stays on them. Two things in candle are beyond a worker's
//! reach and can be told only through the environment, before the process has started its second thread:
//!
//! - `CANDLE_NUM_THREADS`: candle's barrier pool, one for the whole process, runs large elementwise
//!   operations and quantized products. It serves one caller at a time, its threads spin, and a panic inside
//!   it ends it for good. At 1 it does not exist, and every worker computes on its own threads.
//! - `RAYON_NUM_THREADS`: into how many tasks a matrix product is cut. Unset, candle reads `/proc/cpuinfo`
//!   before every product.
//!
//! [`configure`] sets them; call it first in `main`. Without it everything still computes the right numbers,
//! only slower, and with workers in each other's way.

use std::cell::OnceCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use rayon::{ThreadPool, ThreadPoolBuilder};

const CANDLE: &str = "CANDLE_NUM_THREADS";
const RAYON: &str = "RAYON_NUM_THREADS";
const TOKENIZERS: &str = "TOKENIZERS_PARALLELISM";

/// Why [`configure`] changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The environment may be changed only while nobody else can read it.
    #[error("the process already has {threads} threads: configure them first in main")]
    AlreadyThreaded {
        /// How many there were.
        threads: usize,
    },
    /// This system does not tell how many threads a process has, so that it would be a guess whether the
    /// environment may be changed. Set the variables outside the process.
    #[error("this system does not tell how many threads run: set {CANDLE}=1 and {RAYON} before the start")]
    UnknownThreads,
}

/// Why [`check`] is not satisfied: names the variables that should be set and are not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("workers will hinder each other: call millpond::threads::configure() first in main, or set {}", .unset.join(", "))]
pub struct Unconfigured {
    /// The variables, with the values they should have.
    pub unset: Vec<String>,
}

/// Prepares the process for workers that keep to their own threads: the first line of `main`.
///
/// Sets `CANDLE_NUM_THREADS=1`, `RAYON_NUM_THREADS` to the number of cores and `TOKENIZERS_PARALLELISM=false`;
/// what the user has set stays. Does nothing, successfully, when all are set.
///
/// # Errors
///
/// [`ConfigureError`] when the process has more than one thread or it cannot be told. Linux tells; elsewhere
/// set the variables outside.
#[allow(unsafe_code)]
pub fn configure() -> Result<(), ConfigureError> {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get).to_string();
    let wanted = [(CANDLE, "1"), (RAYON, cores.as_str()), (TOKENIZERS, "false")];
    let unset: Vec<_> = wanted.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if unset.is_empty() {
        return Ok(());
    }
    match thread_count() {
        Some(1) => {}
        Some(threads) => return Err(ConfigureError::AlreadyThreaded { threads }),
        None => return Err(ConfigureError::UnknownThreads),
    }
    for (name, value) in unset {
        // SAFETY: changing the environment is unsound only while another thread may read it. The kernel has
        // just counted one thread in this process, the one that runs here; only it could start another, and
        // it does not before this loop ends.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// Whether candle's shared barrier pool is out of the way and products need not ask for the number of cores.
///
/// # Errors
///
/// [`Unconfigured`] names what is not set. It is a matter of speed, not of correctness: warn, and go on.
pub fn check() -> Result<(), Unconfigured> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok().filter(|n| *n > 0);
    let rayon = number(RAYON);
    let mut unset = Vec::new();
    // Where its own variable says nothing, candle asks rayon's.
    if number(CANDLE).or(rayon) != Some(1) {
        unset.push(format!("{CANDLE}=1"));
    }
    if rayon.is_none() {
        unset.push(format!("{RAYON}=<cores>"));
    }
    if unset.is_empty() { Ok(()) } else { Err(Unconfigured { unset }) }
}

thread_local! {
    /// The pool that this thread is number 0 of. Ends with the thread.
    static OWN_POOL: OnceCell<Option<ThreadPool>> = const { OnceCell::new() };
}

/// Gives the calling thread `threads` threads to compute on, itself included; returns how many it has.
///
/// From then on whatever this thread computes in parallel stays on them. The first call decides, for as long
/// as the thread lives: a rayon thread cannot leave its pool, so later calls only report. A thread that
/// belongs to a rayon pool already keeps that one. When the calling thread ends, the others do.
pub(crate) fn adopt(threads: NonZeroUsize) -> usize {
    OWN_POOL.with(|pool| {
        pool.get_or_init(|| {
            let builder = ThreadPoolBuilder::new().num_threads(threads.get()).use_current_thread();
            builder.thread_name(|index| format!("millpond-compute-{index}")).build().ok()
        });
    });
    rayon::current_num_threads()
}

/// Runs `work` while the other threads of the calling thread's pool stay awake, and so take up what it shares out
/// within a microsecond instead of the fifty that waking takes.
///
/// For work of some milliseconds that is shared out again and again, such as one pass through a network.
pub(crate) fn awake<R>(work: impl FnOnce() -> R) -> R {
    let Some(own) = rayon::current_thread_index() else { return work() };
    let ended = AtomicBool::new(false);
    let stay = |_: &rayon::Scope<'_>| {
        // The calling thread may take this up itself while it waits for others: it is awake already.
        while rayon::current_thread_index() != Some(own) && !ended.load(Ordering::Acquire) {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::hint::spin_loop();
            }
        }
    };
    rayon::in_place_scope(|scope| {
        (1..rayon::current_num_threads()).for_each(|_| scope.spawn(stay));
        // Also when the work panics: the scope waits for all that was spawned.
        let _end = EndOnDrop(&ended);
        work()
    })
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(target_os = "linux")]
fn thread_count() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

#[cfg(not(target_os = "linux"))]
fn thread_count() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn threads_that_stay_awake_work_and_then_rest() {
        let pool = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let sum = |n: u64| (0..n).into_par_iter().map(|i| i % 7).sum::<u64>();
        for n in [0, 1, 1000] {
            assert_eq!(pool.install(|| awake(|| sum(n))), (0..n).map(|i| i % 7).sum::<u64>());
        }
        let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            pool.install(|| awake(|| panic!("a model")));
        }));
        assert!(panicked.is_err());
        assert_eq!(pool.install(|| awake(|| sum(10))), sum(10), "a panic leaves the pool as it was");
        assert_eq!(awake(|| 1), 1, "outside a pool there is nobody to keep awake");
    }

    #[test]
    fn a_process_with_threads_is_left_alone() {
        // The test runner has several threads, so this must refuse, unless all is set already.
        let all_set = [CANDLE, RAYON, TOKENIZERS].iter().all(|name| std::env::var_os(name).is_some());
        assert_eq!(configure().is_ok(), all_set);
    }

    #[test]
    fn a_thread_adopts_once() {
        let two = NonZeroUsize::new(2).unwrap();
        let seen = std::thread::spawn(move || (adopt(two), adopt(NonZeroUsize::MIN))).join().unwrap();
        assert_eq!(seen, (2, 2));
    }
}
