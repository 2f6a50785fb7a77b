//! State that outlives a request and belongs to no worker.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;

use crate::clock::{Clock, Timestamp};
use crate::id::{SessionId, WorkerId};

/// The sessions of a pool: what applications keep between requests, and which worker served each last.
///
/// Workers are stateless: any of them can serve any session. One that served it last may have its cache
/// warm, so dispatch prefers it while no other worker is less busy.
pub struct SessionStore {
    sessions: DashMap<SessionId, Session>,
    clock: Clock,
    timeout: Duration,
}

struct Session {
    last_used: Timestamp,
    worker: Option<WorkerId>,
    state: Option<Arc<dyn Any + Send + Sync>>,
}

impl SessionStore {
    pub(crate) fn new(clock: Clock, timeout: Duration) -> Self {
        Self { sessions: DashMap::new(), clock, timeout }
    }

    /// Keeps `state` for the session, in place of what was there.
    pub fn put<T: Send + Sync + 'static>(&self, id: &SessionId, state: T) {
        let state: Arc<dyn Any + Send + Sync> = Arc::new(state);
        // What was there is dropped outside the map's lock: its destructor may ask the store too.
        let _before = self.touch(id, |session| session.state.replace(state));
    }

    /// What is kept for the session, if it is a `T`.
    pub fn get<T: Send + Sync + 'static>(&self, id: &SessionId) -> Option<Arc<T>> {
        let now = self.clock.now();
        let mut session = self.sessions.get_mut(id)?;
        session.last_used = now;
        session.state.clone()?.downcast().ok()
    }

    /// Forgets the session.
    pub fn remove(&self, id: &SessionId) {
        self.sessions.remove(id);
    }

    /// How many sessions are remembered.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(crate) fn served_by(&self, id: &SessionId, worker: WorkerId) {
        self.touch(id, |session| session.worker = Some(worker));
    }

    pub(crate) fn last_worker(&self, id: &SessionId) -> Option<WorkerId> {
        self.sessions.get(id)?.worker
    }

    pub(crate) fn forget_expired(&self) {
        let now = self.clock.now();
        let expired = |session: &Session| now.since(session.last_used) > self.timeout;
        let forgotten: Vec<SessionId> =
            self.sessions.iter().filter(|entry| expired(entry)).map(|entry| entry.key().clone()).collect();
        // One by one, so that what they kept is dropped outside the map's lock.
        for id in forgotten {
            drop(self.sessions.remove_if(&id, |_, session| expired(session)));
        }
    }

    fn touch<R>(&self, id: &SessionId, change: impl FnOnce(&mut Session) -> R) -> R {
        let last_used = self.clock.now();
        let new = || Session { last_used, worker: None, state: None };
        let mut session = self.sessions.entry(id.clone()).or_insert_with(new);
        session.last_used = last_used;
        change(&mut session)
    }
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").field("sessions", &self.len()).finish_non_exhaustive()
    }
}
