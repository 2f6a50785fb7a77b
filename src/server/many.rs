//! Many requests of one caller, answered in order.

use std::collections::VecDeque;

use super::api_error::ApiError;
use super::app::App;
use super::terms::Terms;
use crate::capability::Capability;
use crate::pool::{Pool, PoolError, Ticket};

/// Hands all `requests` to the pool and awaits their answers, in order. When the key's queue is full of them, the next
/// goes in as the first come out. The first error cancels the rest.
pub(super) async fn answer_all<C: Capability>(
    app: &App,
    pool: &Pool<C>,
    key: &str,
    requests: impl ExactSizeIterator<Item = C::Request>,
) -> Result<Vec<C::Output>, ApiError> {
    answer_all_on(Terms::of(app), pool, key, requests).await
}

/// [`answer_all`], on terms of its caller's.
pub(super) async fn answer_all_on<C: Capability>(
    terms: Terms,
    pool: &Pool<C>,
    key: &str,
    requests: impl ExactSizeIterator<Item = C::Request>,
) -> Result<Vec<C::Output>, ApiError> {
    let mut answers = Vec::with_capacity(requests.len());
    let mut tickets = VecDeque::<Ticket<C>>::with_capacity(requests.len());
    for mut request in requests {
        loop {
            match pool.submit_with(key, request, terms.options()) {
                Ok(ticket) => break tickets.push_back(ticket),
                Err(refused) => match (&refused.error, tickets.pop_front()) {
                    (PoolError::QueueFull { .. }, Some(first)) => {
                        answers.push(first.await?);
                        request = refused.request;
                    }
                    _ => return Err(PoolError::from(refused).into()),
                },
            }
        }
    }
    for ticket in tickets {
        answers.push(ticket.await?);
    }
    Ok(answers)
}
