//! How one request differs from the pool's defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::reply::{Callback, Completion};
use super::retry::Retry;
use crate::capability::Capability;
use crate::id::{SessionId, WorkerId};

/// Options of one request. Everything left alone is as the pool is configured.
pub struct SubmitOptions<C: Capability> {
    pub(crate) id: Option<Arc<str>>,
    pub(crate) priority: i32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<Retry>,
    pub(crate) session: Option<SessionId>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) callback: Option<Callback<C>>,
}

impl<C: Capability> SubmitOptions<C> {
    /// The pool's defaults, priority 0.
    pub fn new() -> Self {
        Self {
            id: None,
            priority: 0,
            timeout: None,
            retry: None,
            session: None,
            worker: None,
            callback: None,
        }
    }

    /// What the request is called in errors, events and results. Need not be unique.
    #[must_use]
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Higher goes first among the requests that wait. Default 0.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// How long the request may take from now, queueing and retries included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How it is tried again when it fails.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// The conversation it belongs to: it goes back to the worker that served the last request of the same
    /// session, while no other is less busy.
    #[must_use]
    pub fn session(mut self, session: impl Into<SessionId>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// Sends it to this worker and no other; refused when that has no room.
    #[must_use]
    pub fn worker(mut self, worker: WorkerId) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Calls `callback` once, when the request has ended, however it ends. It runs on the thread that ends
    /// the request, before the ticket has the answer; it should be quick. A panic in it is contained.
    #[must_use]
    pub fn on_complete(mut self, callback: impl FnOnce(&Completion<'_, C>) + Send + 'static) -> Self {
        self.callback = Some(Box::new(callback));
        self
    }
}

impl<C: Capability> Default for SubmitOptions<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Capability> fmt::Debug for SubmitOptions<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitOptions")
            .field("id", &self.id)
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("session", &self.session)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}
