//! Callers that ask, wait for the answer and ask again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use indicatif::ProgressBar;

use crate::capability::{Capability, GenerateRequest, TextCompletion, Token};
use crate::cli::failure::Failure;
use crate::cli::interrupt::Interrupt;
use crate::pool::{PoolError, Ticket};

/// What callers ask for.
pub(super) trait Subject: Sync {
    /// Asks for the `number`-th time and waits. Once `stop` is set nobody wants the answer any more.
    fn ask(&self, number: usize, stop: &AtomicBool) -> Result<Sample, PoolError>;
}

/// One answered request.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) waited: Duration,
    pub(super) tokens: usize,
    /// How long after the request the first token came, and each of the others after the one before. Empty
    /// where answers come whole.
    pub(super) first: Option<Duration>,
    pub(super) between: Vec<Duration>,
}

/// Makes an answer's ends less likely, so that answers have the length that is asked for.
pub(super) fn never_ending(request: &mut GenerateRequest, ends: &[u32]) {
    request.sampling.logit_bias = ends.iter().map(|id| (*id, -100.0)).collect();
}

/// One request whose answer comes token by token.
pub(super) fn followed<C: Capability<Event = Token, Output = TextCompletion>>(
    stop: &AtomicBool,
    submit: impl FnOnce() -> Result<Ticket<C>, PoolError>,
) -> Result<Sample, PoolError> {
    let mut sample = Sample::default();
    let begun = Instant::now();
    let mut before = begun;
    let mut ticket = submit()?;
    for _ in ticket.events() {
        let now = Instant::now();
        match sample.first {
            None => sample.first = Some(now - begun),
            Some(_) => sample.between.push(now - before),
        }
        before = now;
        if stop.load(Ordering::Relaxed) {
            // Nobody wants it: dropping the ticket cancels it.
            return Ok(sample);
        }
    }
    sample.tokens = ticket.wait()?.completion_tokens();
    sample.waited = begun.elapsed();
    Ok(sample)
}

/// So many requests, shared out among so many callers.
pub(super) struct Round<'a, S> {
    subject: &'a S,
    end: u64,
    requests: u64,
    next: AtomicU64,
    stop: AtomicBool,
}

impl<'a, S: Subject> Round<'a, S> {
    /// The requests from the `first`-th on.
    pub(super) fn new(subject: &'a S, first: u64, requests: u64) -> Self {
        Self {
            subject,
            end: first.saturating_add(requests),
            requests,
            next: AtomicU64::new(first),
            stop: AtomicBool::new(false),
        }
    }

    pub(super) fn run(
        &self,
        callers: usize,
        bar: &ProgressBar,
        interrupt: &Interrupt,
    ) -> Result<Vec<Sample>, Failure> {
        let callers = callers.min(self.requests as usize);
        thread::scope(|scope| {
            let (results, answers) = unbounded();
            let start = |results: Sender<_>| {
                Builder::new().name("caller".to_owned()).spawn_scoped(scope, move || self.call(results))
            };
            let started = (0..callers).try_for_each(|_| start(results.clone()).map(drop));
            drop(results);
            let samples = started.map_err(Failure::Thread).and_then(|()| collect(&answers, bar, interrupt));
            self.stop.store(true, Ordering::Relaxed);
            samples
        })
    }

    /// Asks and waits until all requests are taken, or nobody listens.
    #[allow(clippy::needless_pass_by_value, reason = "the channel ends with the last caller")]
    fn call(&self, results: Sender<Result<Sample, PoolError>>) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end {
                return;
            }
            if results.send(self.subject.ask(number as usize, &self.stop)).is_err() {
                return;
            }
        }
    }
}

/// All samples, unless one failed or the user has had enough.
fn collect(
    answers: &Receiver<Result<Sample, PoolError>>,
    bar: &ProgressBar,
    interrupt: &Interrupt,
) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    loop {
        select! {
            recv(answers) -> answer => match answer {
                Ok(answer) => samples.push(answer.map_err(crate::Error::from)?),
                Err(_) => return Ok(samples),
            },
            recv(interrupt.asked()) -> _ => return Err(Failure::Interrupted),
        }
        bar.inc(1);
    }
}
