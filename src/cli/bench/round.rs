//! Callers that ask, wait for the answer and ask again; or that ask when it is time to, whatever became of the
//! questions before.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use indicatif::ProgressBar;

use crate::capability::{Capability, GenerateRequest, TextCompletion, Token};
use crate::cli::failure::Failure;
use crate::cli::interrupt::Interrupt;
use crate::pool::{PoolError, Ticket};

/// A caller who waits looks so often whether it still should.
const GLANCE: Duration = Duration::from_millis(20);

/// What callers ask for.
pub(super) trait Subject: Sync {
    /// Asks for the `number`-th time and waits. Once `stop` is set nobody wants the answer any more.
    fn ask(&self, number: usize, stop: &AtomicBool) -> Result<Sample, Failure>;
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

impl Sample {
    /// Of an answer that was asked for at `begun`, a token is here, and the one before came at `before`. Returns when
    /// it came.
    pub(super) fn token_came(&mut self, begun: Instant, before: Instant) -> Instant {
        let now = Instant::now();
        match self.first {
            None => self.first = Some(now - begun),
            Some(_) => self.between.push(now - before),
        }
        now
    }

    /// Counts what the caller waited before it could ask at all.
    fn asked_late(&mut self, lag: Duration) {
        self.waited += lag;
        self.first = self.first.map(|first| first + lag);
    }
}

/// Makes an answer's ends less likely, so that answers have the length that is asked for.
pub(super) fn never_ending(request: &mut GenerateRequest, ends: &[u32]) {
    request.sampling.logit_bias = ends.iter().map(|id| (*id, -100.0)).collect();
}

/// One request whose answer comes token by token.
pub(super) fn followed<C: Capability<Event = Token, Output = TextCompletion>>(
    stop: &AtomicBool,
    submit: impl FnOnce() -> Result<Ticket<C>, PoolError>,
) -> Result<Sample, Failure> {
    let mut sample = Sample::default();
    let begun = Instant::now();
    let mut before = begun;
    let mut ticket = submit().map_err(crate::Error::from)?;
    for _ in ticket.events() {
        before = sample.token_came(begun, before);
        if stop.load(Ordering::Relaxed) {
            // Nobody wants it: dropping the ticket cancels it.
            return Ok(sample);
        }
    }
    sample.tokens = ticket.wait().map_err(crate::Error::from)?.completion_tokens();
    sample.waited = begun.elapsed();
    Ok(sample)
}

/// So many requests, shared out among so many callers.
pub(super) struct Round<'a, S> {
    subject: &'a S,
    begin: u64,
    end: u64,
    /// In an open round, how long after one request the next is due.
    every: Option<Duration>,
    next: AtomicU64,
    stop: AtomicBool,
}

/// When requests of an open round are due, counted from its begin, so that a caller who comes late does not hide it.
struct Schedule {
    began: Instant,
    every: Duration,
    first: u64,
}

impl Schedule {
    /// Waits until request `number` is due, and returns how late it is by then. Ends early when nobody wants the rest.
    fn wait_for(&self, number: u64, stop: &AtomicBool) -> Duration {
        let due = self.began + self.every.mul_f64((number - self.first) as f64);
        while !stop.load(Ordering::Relaxed) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(GLANCE));
        }
        Instant::now().saturating_duration_since(due)
    }
}

impl<'a, S: Subject> Round<'a, S> {
    /// The requests from the `first`-th on.
    pub(super) fn new(subject: &'a S, first: u64, requests: u64) -> Self {
        Self {
            subject,
            begin: first,
            end: first.saturating_add(requests),
            every: None,
            next: AtomicU64::new(first),
            stop: AtomicBool::new(false),
        }
    }

    /// One request each `every`, whether or not those before are answered: as many callers as there are ask, and
    /// what a request waits for a caller counts.
    pub(super) fn every(mut self, every: Option<Duration>) -> Self {
        self.every = every;
        self
    }

    pub(super) fn run(
        &self,
        callers: usize,
        bar: &ProgressBar,
        interrupt: &Interrupt,
    ) -> Result<Vec<Sample>, Failure> {
        let callers = callers.min((self.end - self.begin) as usize);
        let schedule = self.every.map(|every| Schedule { began: Instant::now(), every, first: self.begin });
        let schedule = schedule.as_ref();
        thread::scope(|scope| {
            let (results, answers) = unbounded();
            let start = |results: Sender<_>| {
                Builder::new()
                    .name("caller".to_owned())
                    .spawn_scoped(scope, move || self.call(results, schedule))
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
    fn call(&self, results: Sender<Result<Sample, Failure>>, schedule: Option<&Schedule>) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end {
                return;
            }
            let lag = schedule.map_or(Duration::ZERO, |schedule| schedule.wait_for(number, &self.stop));
            let answer = self.subject.ask(number as usize, &self.stop).map(|mut sample| {
                sample.asked_late(lag);
                sample
            });
            if results.send(answer).is_err() {
                return;
            }
        }
    }
}

/// All samples, unless one failed or the user has had enough.
fn collect(
    answers: &Receiver<Result<Sample, Failure>>,
    bar: &ProgressBar,
    interrupt: &Interrupt,
) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    loop {
        select! {
            recv(answers) -> answer => match answer {
                Ok(answer) => samples.push(answer?),
                Err(_) => return Ok(samples),
            },
            recv(interrupt.asked()) -> _ => return Err(Failure::Interrupted),
        }
        bar.inc(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_late_by_what_has_passed_since_it_was_due() {
        let began = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let schedule = Schedule { began, every: Duration::from_secs(1), first: 5 };
        let stop = AtomicBool::new(false);
        let lag = schedule.wait_for(12, &stop);
        assert!(
            lag >= Duration::from_secs(3) && lag < Duration::from_secs(9),
            "due at 7 s, asked at 10 s: {lag:?}"
        );
        stop.store(true, Ordering::Relaxed);
        assert_eq!(schedule.wait_for(1_000_005, &stop), Duration::ZERO, "nobody waits for it any more");
    }

    #[test]
    fn waiting_to_ask_counts() {
        let now = Instant::now();
        let mut sample = Sample { waited: Duration::from_secs(2), ..Sample::default() };
        sample.token_came(now, now);
        let first = sample.first.unwrap();
        sample.asked_late(Duration::from_secs(1));
        assert_eq!(
            (sample.waited, sample.first),
            (Duration::from_secs(3), Some(first + Duration::from_secs(1)))
        );
    }
}
