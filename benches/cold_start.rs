//! How long the first answer takes, and the first answer of a further worker.

mod support;

use std::time::{Duration, Instant};

use criterion::Criterion;
use millpond::pool::PoolConfig;

use support::{Echo, echo, in_turn, median, pool, print_beside, quick};

type Pool = millpond::pool::Pool<Echo>;

/// From making a pool to its first answer, in microseconds.
fn first_answer() -> f64 {
    let began = Instant::now();
    let pool = pool(1, 1, false);
    pool.submit("0", 1).expect("room").wait().expect("an answer");
    began.elapsed().as_secs_f64() * 1e6
}

/// From asking for a second worker to its serving, in microseconds.
fn second_worker() -> f64 {
    let pool = pool(1, 1, false);
    let began = Instant::now();
    pool.resize("0", 2).expect("it is registered");
    while pool.key_status("0").expect("it is registered").ready < 2 {
        std::thread::yield_now();
    }
    began.elapsed().as_secs_f64() * 1e6
}

/// From asking to unload to the next answer, in microseconds.
fn unload_and_reload(pool: &Pool) -> f64 {
    let began = Instant::now();
    pool.unload("0").expect("it is registered");
    pool.submit("0", 1).expect("room").wait().expect("an answer");
    began.elapsed().as_secs_f64() * 1e6
}

/// A model in a thread without any pool, in microseconds: what the figures above are compared with.
fn bare_thread() -> f64 {
    let began = Instant::now();
    let (reply, answer) = crossbeam_channel::bounded(1);
    let thread = std::thread::spawn(move || reply.send(1));
    answer.recv().expect("it lives");
    let _ = thread.join();
    began.elapsed().as_secs_f64() * 1e6
}

fn main() {
    let rounds = if quick() { 3 } else { 200 };
    let reloaded: Pool = Pool::new(PoolConfig::default().workers(1)).expect("a thread");
    reloaded.register("0", echo(1, false)).expect("a free key");
    let names = ["a bare thread", "a new pool's first answer", "a second worker", "unload, then reload"];
    let figures = in_turn(
        rounds,
        &mut [
            (names[0], &mut bare_thread),
            (names[1], &mut first_answer),
            (names[2], &mut second_worker),
            (names[3], &mut || unload_and_reload(&reloaded)),
        ],
    );
    print_beside("Cold starts with a model that takes no time to load", "microseconds", &names, &figures);
    let slowest = figures.into_iter().map(median).fold(0.0, f64::max);
    println!("slowest median: {slowest:.0} us");
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    criterion.bench_function("cold_start/unload_and_reload", |b| b.iter(|| unload_and_reload(&reloaded)));
    criterion.final_summary();
}
