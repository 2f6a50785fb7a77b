//! Many threads ask one pool at once.

use std::thread::scope;
use std::time::{Duration, Instant};

use super::EMBEDS;
use super::page::{INDENT, Page};
use super::sentences::SENTENCES;
use crate::cli::bench::{milliseconds, quantile};
use crate::cli::failure::Failure;
use crate::cli::output::counted;
use crate::engine::{Capabilities, Engine};

/// How many callers ask at once, and how often each.
const CALLERS: usize = 8;
const REQUESTS: usize = 100;

/// Embeds the same sentences for all callers, and says how long they waited.
pub(super) fn ask_at_once(page: &mut Page, engine: &Engine) -> Result<(), Failure> {
    let began = Instant::now();
    let answers = scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(move || ask(engine, caller))).collect();
        let joined = callers.into_iter().map(|caller| caller.join().expect("asking does not panic"));
        joined.collect::<Result<Vec<_>, _>>()
    });
    let mut waited = answers?.concat();
    let rate = waited.len() as f64 / began.elapsed().as_secs_f64();
    waited.sort_unstable();
    let [p50, p99] = [0.5, 0.99].map(|q| milliseconds(quantile(&waited, q)));
    let workers = counted(engine.text_embedding().status().workers, "worker");
    let threads = engine.threads_per_worker(&engine.key_config(Capabilities::TextEmbedding));
    let threads = counted(threads.get(), "thread");
    page.say(format_args!(
        "{INDENT}{CALLERS} threads ask {} times: {rate:.0} answers a second from {workers} of {threads}; half of them \
         within {p50:.1} ms, 99 of 100 within {p99:.1} ms.",
        waited.len()
    ))
}

fn ask(engine: &Engine, caller: usize) -> Result<Vec<Duration>, crate::Error> {
    let ask_once = |request: usize| {
        let asked = Instant::now();
        engine.embed(EMBEDS, SENTENCES[(caller + request) % SENTENCES.len()]).map(|_| asked.elapsed())
    };
    (0..REQUESTS).map(ask_once).collect()
}
