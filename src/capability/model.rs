//! The contract between a worker and the model it owns.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Capability;
use crate::clock::Timestamp;
use crate::id::{JobId, SessionId};

/// A loaded model, owned by one worker thread from the moment it is built until it is dropped there.
///
/// A panic in any of these methods fails the requests admitted at that moment with `WorkerPanicked`; the
/// model is dropped and built anew from the shared weights.
pub trait Model<C: Capability> {
    /// How much may be admitted at once. Asked once, after the model is built. Default: one request.
    fn capacity(&self) -> Capacity {
        Capacity::default()
    }

    /// Takes a request in. `slot` names it from now until it is finished, failed or canceled; a slot number
    /// is used again afterwards. An error fails this request alone.
    fn admit(&mut self, slot: Slot, request: C::Request, job: &JobContext) -> Result<(), ModelError>;

    /// Advances everything admitted by one unit and puts what came of it into `out`. A request that gets
    /// neither [`Outbox::finish`] nor [`Outbox::fail`] stays admitted. An error fails everything admitted,
    /// and the worker then cancels every slot.
    fn step(&mut self, out: &mut Outbox<C>) -> Result<(), ModelError>;

    /// Forgets an admitted request: its caller left, its deadline passed, or the step that held it failed.
    /// Nothing is to be reported for it any more.
    fn cancel(&mut self, slot: Slot);
}

/// Names one admitted request inside one model. Small and dense: usable as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// How much work a model can hold at once, queued at its worker and running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Requests at once; at least 1.
    pub jobs: u32,
    /// The sum of their costs (tokens, pixels: what the loader says a request weighs). A single request
    /// above it is still taken when nothing else is admitted.
    pub cost: u64,
}

impl Capacity {
    /// One request at a time, whatever it costs.
    pub const ONE: Self = Self::jobs(1);

    /// `jobs` requests at a time, whatever they cost.
    pub const fn jobs(jobs: u32) -> Self {
        Self { jobs, cost: u64::MAX }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self::ONE
    }
}

/// What came of a step, collected by the worker and delivered to the callers after it.
pub struct Outbox<C: Capability> {
    pub(crate) updates: Vec<(Slot, Update<C>)>,
}

pub(crate) enum Update<C: Capability> {
    Event(C::Event),
    Finished(C::Output),
    Failed(ModelError),
}

impl<C: Capability> Outbox<C> {
    /// An empty outbox, for driving a model by hand.
    pub fn new() -> Self {
        Self { updates: Vec::new() }
    }

    /// Reports progress of a request.
    pub fn event(&mut self, slot: Slot, event: C::Event) {
        self.updates.push((slot, Update::Event(event)));
    }

    /// Ends a request with its answer. Whatever is reported for the slot afterwards is ignored.
    pub fn finish(&mut self, slot: Slot, output: C::Output) {
        self.updates.push((slot, Update::Finished(output)));
    }

    /// Ends a request with an error that concerns it alone.
    pub fn fail(&mut self, slot: Slot, error: ModelError) {
        self.updates.push((slot, Update::Failed(error)));
    }

    /// Takes out what was reported of requests under way, in its order; for driving a model by hand.
    pub fn take_events(&mut self) -> Vec<(Slot, C::Event)> {
        let (events, rest) = std::mem::take(&mut self.updates)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, update)| matches!(update, Update::Event(_)));
        self.updates = rest;
        let events = events.into_iter().filter_map(|(slot, update)| match update {
            Update::Event(event) => Some((slot, event)),
            Update::Finished(_) | Update::Failed(_) => None,
        });
        events.collect()
    }

    /// Takes out the requests that have ended, in the order they did; for driving a model by hand.
    pub fn take_ended(&mut self) -> Vec<(Slot, Result<C::Output, ModelError>)> {
        let ended = self.updates.drain(..).filter_map(|(slot, update)| match update {
            Update::Event(_) => None,
            Update::Finished(output) => Some((slot, Ok(output))),
            Update::Failed(error) => Some((slot, Err(error))),
        });
        ended.collect()
    }
}

impl<C: Capability> Default for Outbox<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Capability> fmt::Debug for Outbox<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("updates", &self.updates.len()).finish_non_exhaustive()
    }
}

/// What a model is told about a request besides the request itself.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// Which job it is.
    pub id: JobId,
    /// 1 for the first attempt, one more for each retry.
    pub attempt: u32,
    /// When the answer stops being wanted.
    pub deadline: Timestamp,
    /// The conversation it belongs to.
    pub session: Option<SessionId>,
    /// Whether the caller has left. Worth asking inside a long step; between steps the worker does.
    pub cancel: CancelToken,
}

impl JobContext {
    /// A context without deadline or session, for driving a model by hand.
    pub fn detached(number: u64) -> Self {
        Self {
            id: JobId { number, name: None },
            attempt: 1,
            deadline: Timestamp::NEVER,
            session: None,
            cancel: CancelToken::new(),
        }
    }
}

/// Something whose caller may leave.
pub(crate) trait Cancelable: Send + Sync {
    fn is_canceled(&self) -> bool;
}

impl Cancelable for AtomicBool {
    fn is_canceled(&self) -> bool {
        self.load(Ordering::Acquire)
    }
}

/// Tells whether a request is still wanted.
#[derive(Clone)]
pub struct CancelToken(Arc<dyn Cancelable>);

impl CancelToken {
    /// A token that nobody cancels.
    pub fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    pub(crate) fn from_shared(shared: Arc<dyn Cancelable>) -> Self {
        Self(shared)
    }

    /// Whether the request was canceled. Stays true once it is.
    pub fn is_canceled(&self) -> bool {
        self.0.is_canceled()
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelToken({})", self.is_canceled())
    }
}

/// A request that no model would accept, however often it is tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {field}: {reason}")]
pub struct InvalidRequest {
    /// The part of the request that is wrong.
    pub field: &'static str,
    /// What is wrong with it and what would be right.
    pub reason: String,
}

impl InvalidRequest {
    /// `field` is wrong because of `reason`.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// A model could not serve a request.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The request cannot be served by this model; trying again does not help.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The computation failed. Trying again may help.
    #[error("inference failed: {0}")]
    Failed(#[source] Arc<dyn Error + Send + Sync>),
    /// The numbers went wrong: not-a-number or infinity where an answer should be.
    #[error("numeric error: {0}")]
    Numeric(String),
}

impl ModelError {
    /// A failed computation, with its cause: any error, or a text.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(cause.into()))
    }

    /// Whether another attempt could end differently.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}
