//! What a submission costs when there is much to choose from, and what choosing well is worth.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use crossbeam_channel::{Sender, bounded, unbounded};
use millpond::pool::{Pool, PoolConfig};

use support::{Echo, echo, in_turn, median, pool, print_beside, quantile, quick};

/// A pool with `keys` registered keys, and `workers` workers on key `"0"`.
fn crowd(keys: usize, workers: usize) -> Pool<Echo> {
    let pool = pool(workers, 1, false);
    (1..keys).for_each(|key| pool.register(key.to_string(), echo(1, false)).expect("a free key"));
    pool
}

/// The median time of `submit` alone, in nanoseconds; each answer is waited for outside of it.
fn submit_cost(pool: &Pool<Echo>, calls: u64) -> f64 {
    let mut times = Vec::with_capacity(calls as usize);
    for request in 0..calls {
        let began = Instant::now();
        let ticket = pool.submit("0", request).expect("room");
        times.push(began.elapsed().as_nanos() as f64);
        ticket.wait().expect("an answer");
    }
    median(times)
}

fn many_keys_and_workers() {
    let (rounds, calls) = if quick() { (3, 200) } else { (15, 20_000) };
    let (few, keys, workers, both) = (crowd(1, 1), crowd(10_000, 1), crowd(1, 256), crowd(10_000, 256));
    let names =
        ["1 key, 1 worker", "10,000 keys, 1 worker", "1 key, 256 workers", "10,000 keys, 256 workers"];
    let figures = in_turn(
        rounds,
        &mut [
            (names[0], &mut || submit_cost(&few, calls)),
            (names[1], &mut || submit_cost(&keys, calls)),
            (names[2], &mut || submit_cost(&workers, calls)),
            (names[3], &mut || submit_cost(&both, calls)),
        ],
    );
    print_beside("Cost of one submit (lower is better; bar: <= 1.50)", "nanoseconds", &names, &figures);
}

/// Service times of which one in 20 is 40 times as long, and the moments at which they come: about two
/// thirds of what two workers can do.
fn skewed(requests: usize) -> Vec<(Duration, u64)> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut at = Duration::ZERO;
    let arrival = |_| {
        let service = if rng.u32(0..20) == 0 { 2_000_000 } else { 50_000 };
        at += Duration::from_nanos((-rng.f64().max(1e-9).ln() * 110_000.0) as u64);
        (at, service)
    };
    (0..requests).map(arrival).collect()
}

/// Sends requests at their moments; `send` gets a channel on which to report the end of each. Returns how
/// long each took from its moment to its end, in microseconds.
fn open_loop(arrivals: &[(Duration, u64)], send: impl Fn(usize, u64, Sender<(usize, Instant)>)) -> Vec<f64> {
    let (ended, ends) = unbounded();
    let began = Instant::now();
    for (index, (at, service)) in arrivals.iter().enumerate() {
        while began.elapsed() < *at {
            std::thread::yield_now();
        }
        send(index, *service, ended.clone());
    }
    drop(ended);
    let latency =
        |(index, end): (usize, Instant)| end.duration_since(began + arrivals[index].0).as_secs_f64() * 1e6;
    ends.iter().map(latency).collect()
}

type Work = (usize, u64, Sender<(usize, Instant)>);

fn serve((index, service, ended): Work) {
    let until = Instant::now() + Duration::from_nanos(service);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    let _ = ended.send((index, Instant::now()));
}

fn through_pool(pool: &Pool<Echo>, arrivals: &[(Duration, u64)]) -> Vec<f64> {
    open_loop(arrivals, |index, service, ended| {
        let options = millpond::pool::SubmitOptions::new().on_complete(move |_| {
            let _ = ended.send((index, Instant::now()));
        });
        pool.submit_with("0", service, options).expect("room").detach();
    })
}

/// `workers` threads, each with a channel of its own, taken in turn.
fn through_round_robin(workers: usize, arrivals: &[(Duration, u64)]) -> Vec<f64> {
    let channels: Vec<Sender<Work>> = (0..workers)
        .map(|_| {
            let (work, inbox) = unbounded::<Work>();
            std::thread::spawn(move || inbox.iter().for_each(serve));
            work
        })
        .collect();
    open_loop(arrivals, |index, service, ended| {
        channels[index % workers].send((index, service, ended)).expect("it lives");
    })
}

/// `workers` threads on one channel.
fn through_shared_queue(workers: usize, arrivals: &[(Duration, u64)]) -> Vec<f64> {
    let (work, inbox) = bounded::<Work>(arrivals.len());
    for _ in 0..workers {
        let inbox = inbox.clone();
        std::thread::spawn(move || inbox.iter().for_each(serve));
    }
    open_loop(arrivals, |index, service, ended| work.send((index, service, ended)).expect("it lives"))
}

fn skewed_service_times() {
    let workers = 2;
    let (rounds, requests) = if quick() { (1, 200) } else { (7, 5_000) };
    let arrivals = Arc::new(skewed(requests));
    let config = PoolConfig::default().workers(workers).queue_capacity(0);
    let pool: Pool<Echo> = Pool::new(config).expect("a thread");
    pool.register("0", echo(1, true)).expect("a free key");
    pool.preload("0").expect("an echo loads");
    let p99 = |mut latencies: Vec<f64>| quantile(&mut latencies, 0.99);
    let names = ["least pending (pool)", "round robin", "one shared queue"];
    let figures = in_turn(
        rounds,
        &mut [
            (names[0], &mut || p99(through_pool(&pool, &arrivals))),
            (names[1], &mut || p99(through_round_robin(workers, &arrivals))),
            (names[2], &mut || p99(through_shared_queue(workers, &arrivals))),
        ],
    );
    let title = "Skewed service times (1 in 20 takes 40 x as long), two workers: 99th percentile";
    print_beside(title, "microseconds", &names, &figures);
}

fn main() {
    many_keys_and_workers();
    skewed_service_times();
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    let both = crowd(10_000, 256);
    criterion.bench_function("dispatch/10000_keys_256_workers", |b| {
        b.iter(|| both.submit("0", 1).expect("room").wait().expect("an answer"));
    });
    criterion.final_summary();
}
