//! Many requests, submitted ahead and answered in order.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::output::Output;
use crate::capability::{Capability, InvalidRequest};
use crate::pool::{Pool, PoolError, SubmitOptions, Ticket};

/// How many items, and how many bytes of them, may be under way at once.
const AHEAD: usize = 256;
const AHEAD_BYTES: usize = 64 << 20;

/// What becomes a request each, and what becomes of its answer.
pub(super) trait Subject {
    type Capability: Capability;
    type Item;
    /// The field of a request that the item is in.
    const FIELD: &'static str;

    fn pool(&self) -> &Pool<Self::Capability>;
    /// The model's.
    fn key(&self) -> &str;
    /// What the item occupies while it is under way.
    fn bytes(&self, item: &Self::Item) -> usize;
    fn request(&self, item: Self::Item) -> <Self::Capability as Capability>::Request;
    /// What messages call the item, by its place.
    fn place(&self, index: usize) -> String;
    fn print(
        &mut self,
        output: &mut Output,
        index: usize,
        answer: <Self::Capability as Capability>::Output,
    ) -> Result<(), Failure>;
}

/// All items, ready to be taken.
pub(super) fn all_of<T>(items: impl ExactSizeIterator<Item = T>) -> Receiver<Result<T, Failure>> {
    let (sender, receiver) = bounded(items.len());
    for item in items {
        // There is room for all, and the receiver is here.
        let _ = sender.send(Ok(item));
    }
    receiver
}

/// Submits ahead, prints in order.
pub(super) struct Stream<S: Subject> {
    subject: S,
    output: Output,
    /// In the order of the items: what is submitted and not printed.
    under_way: VecDeque<Running<S::Capability>>,
    /// How many bytes are under way.
    bytes: usize,
    printed: usize,
    /// Where requests say that they have ended, and where that is heard.
    done: (Sender<usize>, Receiver<usize>),
}

/// One item.
struct Running<C: Capability> {
    ticket: Ticket<C>,
    bytes: usize,
    /// Whether waiting for it takes no time.
    ended: bool,
}

impl<S: Subject> Stream<S> {
    pub(super) fn new(subject: S) -> Self {
        let under_way = VecDeque::new();
        Self { subject, output: Output::stdout(), under_way, bytes: 0, printed: 0, done: unbounded() }
    }

    /// Ends after the last item, or with the first failure once all before it is printed.
    pub(super) fn run(
        &mut self,
        items: &Receiver<Result<S::Item, Failure>>,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let (nothing, done) = (never(), self.done.1.clone());
        // How the items ended, once they have.
        let mut end = None;
        loop {
            self.print_ended()?;
            if self.under_way.is_empty()
                && let Some(end) = end
            {
                return self.output.flush().and(end);
            }
            let room = self.under_way.len() < AHEAD && self.bytes < AHEAD_BYTES;
            let next = if end.is_none() && room { items } else { &nothing };
            if next.is_empty() && done.is_empty() {
                // Whoever reads along gets what there is before we sleep.
                self.output.flush()?;
            }
            select! {
                recv(next) -> item => match item {
                    Ok(item) => end = item.and_then(|item| self.submit(item)).err().map(Err),
                    Err(_) => end = Some(Ok(())),
                },
                recv(done) -> index => if let Ok(index) = index { self.ended(index) },
                recv(interrupt.asked()) -> _ => {
                    // Dropping the tickets cancels them.
                    self.under_way.clear();
                    return self.output.flush().and(Err(Failure::Interrupted));
                }
            }
        }
    }

    /// What became of the subject, and how many answers were printed.
    pub(super) fn finish(self) -> (S, usize) {
        (self.subject, self.printed)
    }

    fn submit(&mut self, item: S::Item) -> Result<(), Failure> {
        let (index, bytes) = (self.printed + self.under_way.len(), self.subject.bytes(&item));
        let done = self.done.0.clone();
        // Nobody listens only when nobody waits.
        let options = SubmitOptions::new().on_complete(move |_| {
            let _ = done.send(index);
        });
        let request = self.subject.request(item);
        let submitted = self.subject.pool().submit_with(self.subject.key(), request, options);
        let ticket = submitted.map_err(|refused| self.failed(index, refused.error))?;
        self.under_way.push_back(Running { ticket, bytes, ended: false });
        self.bytes += bytes;
        Ok(())
    }

    fn ended(&mut self, index: usize) {
        if let Some(running) = self.under_way.get_mut(index - self.printed) {
            running.ended = true;
        }
    }

    /// Prints what has ended, up to the first that has not.
    fn print_ended(&mut self) -> Result<(), Failure> {
        while let Some(Running { ticket, bytes, .. }) = self.under_way.pop_front_if(|running| running.ended) {
            let index = self.printed;
            let answer = ticket.wait().map_err(|error| self.failed(index, error))?;
            self.subject.print(&mut self.output, index, answer)?;
            self.bytes -= bytes;
            self.printed += 1;
        }
        Ok(())
    }

    /// A request that no item could make good concerns all of them; anything else is told of its own.
    fn failed(&self, index: usize, error: PoolError) -> Failure {
        match error {
            PoolError::InvalidRequest { source: InvalidRequest { field, .. }, .. } if field != S::FIELD => {
                crate::Error::from(error).into()
            }
            PoolError::ModelError { .. }
            | PoolError::WorkerPanicked { .. }
            | PoolError::WorkerLost { .. }
            | PoolError::InvalidRequest { .. } => {
                Failure::Item { place: self.subject.place(index), source: error }
            }
            error => crate::Error::from(error).into(),
        }
    }
}
