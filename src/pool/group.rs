//! Several requests that succeed together or not at all.

use super::Pool;
use super::error::PoolError;
use super::ticket::Ticket;
use crate::capability::Capability;

/// Requests whose first error wins: made by [`Pool::group`].
///
/// Dropping a group cancels what it has not waited for.
#[derive(Debug)]
#[must_use = "dropping a group cancels its requests; call `wait`"]
pub struct Group<C: Capability> {
    pool: Pool<C>,
    tickets: Vec<Ticket<C>>,
    refused: Option<PoolError>,
}

impl<C: Capability> Group<C> {
    pub(crate) fn new(pool: Pool<C>) -> Self {
        Self { pool, tickets: Vec::new(), refused: None }
    }

    /// Submits a request as part of the group. If it is not accepted, that is the group's error; after an
    /// error nothing more is submitted.
    pub fn go(&mut self, key: impl AsRef<str>, request: C::Request) {
        if self.refused.is_some() {
            return;
        }
        match self.pool.submit(key, request) {
            Ok(ticket) => self.tickets.push(ticket),
            Err(refused) => self.refused = Some(refused.error),
        }
    }

    /// Waits for all: their answers in the order of submission, or the error that came first, upon which
    /// the rest is canceled.
    pub fn wait(self) -> Result<Vec<C::Output>, PoolError> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let mut waiting: Vec<Option<Ticket<C>>> = self.tickets.into_iter().map(Some).collect();
        let mut answers: Vec<Option<C::Output>> = waiting.iter().map(|_| None).collect();
        let arrivals = first_to_arrive(&waiting);
        while let Ok(index) = arrivals.recv() {
            if let Some(ticket) = waiting[index].take() {
                answers[index] = Some(ticket.wait()?);
            }
            if waiting.iter().all(Option::is_none) {
                break;
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

/// A channel on which the index of each ticket arrives when it has its answer.
fn first_to_arrive<C: Capability>(tickets: &[Option<Ticket<C>>]) -> crossbeam_channel::Receiver<usize> {
    let (arrive, arrivals) = crossbeam_channel::unbounded();
    for (index, ticket) in tickets.iter().enumerate() {
        let arrive = arrive.clone();
        if let Some(ticket) = ticket {
            ticket.when_ready(move || {
                let _ = arrive.send(index);
            });
        }
    }
    arrivals
}
