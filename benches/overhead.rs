//! What a pool adds to a raw channel: a no-op model beside crossbeam request/reply, measured in turn.

mod support;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use criterion::Criterion;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use millpond::pool::Pool;

use support::{Echo, in_turn, median, pool, print_beside, quick, resident};

/// A thread that sends back what it receives.
struct RawEcho {
    requests: Sender<u64>,
    replies: Receiver<u64>,
}

impl RawEcho {
    fn new(
        (requests, inbox): (Sender<u64>, Receiver<u64>),
        (outbox, replies): (Sender<u64>, Receiver<u64>),
    ) -> Self {
        std::thread::spawn(move || {
            for request in inbox {
                if outbox.send(request).is_err() {
                    break;
                }
            }
        });
        Self { requests, replies }
    }

    fn call(&self, request: u64) -> u64 {
        self.requests.send(request).expect("it lives");
        self.replies.recv().expect("it lives")
    }
}

/// As a raw echo, but each request carries the channel for its own reply, as any caller among many needs.
struct RawOneshot(Sender<(u64, Sender<u64>)>);

impl RawOneshot {
    fn new() -> Self {
        let (requests, inbox) = unbounded::<(u64, Sender<u64>)>();
        std::thread::spawn(move || {
            inbox.iter().for_each(|(request, reply)| {
                let _ = reply.send(request);
            });
        });
        Self(requests)
    }

    fn submit(&self, request: u64) -> Receiver<u64> {
        let (reply, answer) = bounded(1);
        self.0.send((request, reply)).expect("it lives");
        answer
    }
}

/// The median time of one call, in nanoseconds.
fn latency(calls: usize, mut call: impl FnMut(u64) -> u64) -> f64 {
    let mut times = Vec::with_capacity(calls);
    for request in 0..calls as u64 {
        let began = Instant::now();
        assert_eq!(call(request), request);
        times.push(began.elapsed().as_nanos() as f64);
    }
    median(times)
}

/// Requests a second, in thousands, with `outstanding` of them under way at any time.
fn pipelined<T>(requests: u64, outstanding: u64, submit: impl Fn(u64) -> T, wait: impl Fn(T) -> u64) -> f64 {
    let began = Instant::now();
    let mut under_way: VecDeque<T> = (0..outstanding).map(&submit).collect();
    for request in outstanding..requests {
        wait(under_way.pop_front().expect("some are under way"));
        under_way.push_back(submit(request));
    }
    for ticket in under_way {
        wait(ticket);
    }
    requests as f64 / began.elapsed().as_secs_f64() / 1e3
}

fn submit_and_wait(pool: &Pool<Echo>, request: u64) -> u64 {
    pool.submit("0", request).expect("room").wait().expect("an answer")
}

const NAMES: [&str; 5] = [
    "raw, unbounded channels",
    "raw, bounded channels",
    "raw, a reply channel each",
    "pool, 1 at a time",
    "pool, up to 64 at a time",
];

/// The pool, and what it would have to beat: threads behind channels and nothing else.
struct Rivals {
    list: RawEcho,
    array: RawEcho,
    oneshot: RawOneshot,
    one: Pool<Echo>,
    many: Pool<Echo>,
}

impl Rivals {
    fn new() -> Self {
        Self {
            list: RawEcho::new(unbounded(), unbounded()),
            array: RawEcho::new(bounded(64), bounded(64)),
            oneshot: RawOneshot::new(),
            one: pool(1, 1, false),
            many: pool(1, 64, false),
        }
    }

    fn one_caller(&self, rounds: usize, calls: usize) {
        let Self { list, array, oneshot, one, many } = self;
        let figures = in_turn(
            rounds,
            &mut [
                (NAMES[0], &mut || latency(calls, |request| list.call(request))),
                (NAMES[1], &mut || latency(calls, |request| array.call(request))),
                (NAMES[2], &mut || latency(calls, |request| answered(&oneshot.submit(request)))),
                (NAMES[3], &mut || latency(calls, |request| submit_and_wait(one, request))),
                (NAMES[4], &mut || latency(calls, |request| submit_and_wait(many, request))),
            ],
        );
        let title = "One caller: submit to reply (lower is better; bar: pool <= 1.30)";
        print_beside(title, "nanoseconds", &NAMES, &figures);
    }

    fn many_outstanding(&self, rounds: usize, requests: u64) {
        let Self { list, array, oneshot, one, many } = self;
        let raw = |raw: &RawEcho| {
            let submit = |request| raw.requests.send(request).expect("it lives");
            pipelined(requests, 64, submit, |()| answered(&raw.replies))
        };
        let pool = |pool: &Pool<Echo>| {
            let submit = |request| pool.submit("0", request).expect("room");
            pipelined(requests, 64, submit, |ticket| ticket.wait().expect("an answer"))
        };
        let figures = in_turn(
            rounds,
            &mut [
                (NAMES[0], &mut || raw(list)),
                (NAMES[1], &mut || raw(array)),
                (NAMES[2], &mut || {
                    pipelined(requests, 64, |r| oneshot.submit(r), |answer| answered(&answer))
                }),
                (NAMES[3], &mut || pool(one)),
                (NAMES[4], &mut || pool(many)),
            ],
        );
        let title = "64 outstanding (higher is better; bar: pool >= 0.50)";
        print_beside(title, "thousand requests a second", &NAMES, &figures);
    }
}

fn answered(replies: &Receiver<u64>) -> u64 {
    replies.recv().expect("it lives")
}

fn beside_raw_channels() {
    let (rounds, calls, requests) = if quick() { (3, 200, 2_000) } else { (15, 20_000, 1_000_000) };
    let rivals = Rivals::new();
    rivals.one_caller(rounds, calls);
    rivals.many_outstanding(rounds, requests);
}

fn heap_growth() {
    let (warm, jobs) = if quick() { (1_000, 10_000) } else { (1_000_000, 10_000_000) };
    let pool = pool(1, 64, false);
    let run = |n| pipelined(n, 64, |r| pool.submit("0", r).expect("room"), |t| t.wait().expect("an answer"));
    run(warm);
    let before = resident();
    run(jobs);
    let growth = resident().saturating_sub(before);
    println!("\n{jobs} jobs after {warm} to warm up: resident memory grew by {} KiB", growth >> 10);
}

fn main() {
    beside_raw_channels();
    heap_growth();
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    let echo = pool(1, 64, false);
    criterion.bench_function("overhead/submit_to_reply", |b| b.iter(|| submit_and_wait(&echo, 1)));
    let raw = RawEcho::new(unbounded(), unbounded());
    criterion.bench_function("overhead/raw_ping_pong", |b| b.iter(|| raw.call(1)));
    criterion.final_summary();
}
