//! On what terms requests are handed to a pool.

use std::time::{Duration, Instant};

use super::app::App;
use crate::capability::Capability;
use crate::pool::{Pool, PoolError, SubmitError, SubmitOptions, Ticket};

/// How long a request may take, and what goes before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    since: Instant,
    timeout: Duration,
    priority: i32,
}

impl Terms {
    /// The server's own limit on the time, beginning now, and no priority.
    pub(super) fn of(app: &App) -> Self {
        Self { since: Instant::now(), timeout: app.config().request_timeout, priority: 0 }
    }

    /// At most `timeout`, if that is less.
    pub(super) fn within(self, timeout: Duration) -> Self {
        Self { timeout: self.timeout.min(timeout), ..self }
    }

    /// Higher goes first.
    pub(super) fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    /// What a request that is submitted now is submitted with.
    pub(super) fn options<C: Capability>(self) -> SubmitOptions<C> {
        let left = self.timeout.saturating_sub(self.since.elapsed());
        SubmitOptions::new().timeout(left).priority(self.priority)
    }

    /// Hands a request to a pool.
    pub(super) fn hand_in<C: Capability>(
        self,
        pool: &Pool<C>,
        key: &str,
        request: C::Request,
    ) -> Result<Ticket<C>, PoolError> {
        pool.submit_with(key, request, self.options()).map_err(SubmitError::into)
    }
}
