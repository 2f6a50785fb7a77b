//! More requests than fit a queue, in order.

use std::collections::VecDeque;

use super::Pool;
use super::error::PoolError;
use super::ticket::Ticket;
use crate::capability::Capability;

impl<C: Capability> Pool<C> {
    /// Submits any number of requests and blocks for all answers, which come in the order of the requests.
    ///
    /// The workers share the work; however many requests there are, no more wait than the queue holds. The
    /// first error is returned, and what is still under way is canceled.
    pub fn submit_all(
        &self,
        key: impl AsRef<str>,
        requests: impl IntoIterator<Item = C::Request>,
    ) -> Result<Vec<C::Output>, PoolError> {
        self.submit_all_with(key, requests, |_| {})
    }

    /// As [`submit_all`](Self::submit_all), telling `progress` how many answers there are, each time there
    /// is one more.
    pub fn submit_all_with(
        &self,
        key: impl AsRef<str>,
        requests: impl IntoIterator<Item = C::Request>,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<C::Output>, PoolError> {
        let key = key.as_ref();
        let mut answers = Vec::new();
        let mut under_way: VecDeque<Ticket<C>> = VecDeque::new();
        let mut take = |ticket: Ticket<C>| {
            answers.push(ticket.wait()?);
            progress(answers.len());
            Ok::<(), PoolError>(())
        };
        for request in requests {
            let mut next = Some(request);
            while let Some(request) = next.take() {
                match self.submit(key, request) {
                    Ok(ticket) => under_way.push_back(ticket),
                    Err(refused) => {
                        // A full queue has room again when one of ours is done; if none is in it, others fill
                        // it, and that is for the caller to know.
                        let full = matches!(refused.error, PoolError::QueueFull { .. });
                        let Some(oldest) = under_way.pop_front().filter(|_| full) else {
                            return Err(refused.error);
                        };
                        take(oldest)?;
                        next = Some(refused.request);
                    }
                }
            }
        }
        under_way.into_iter().try_for_each(&mut take)?;
        Ok(answers)
    }
}
