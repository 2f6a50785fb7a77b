//! How a pool gets models for a registry key.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::capability::{Capability, InvalidRequest, Model};
use crate::memory::Footprint;

/// Knows how to load one model. Registered with a pool under a registry key.
///
/// Loading has two halves. [`load`](Self::load) reads the weights: once per key, on the thread of the
/// first worker that needs them, however many wait. [`build`](Self::build) makes one worker's model from
/// them, on the worker's own thread: it should copy nothing that can be shared.
pub trait Loader<C: Capability>: Send + Sync + 'static {
    /// What all workers of the key share, read-only.
    type Weights: Send + Sync + 'static;
    /// What each worker owns. Built and dropped on the worker's thread; need not be `Send`.
    type Model: Model<C> + 'static;

    /// Predicts what loading will take, from headers and configuration: quick, and before any weights are
    /// read. Asked before every load; the pool reserves this much or does not load.
    fn footprint(&self) -> Result<Footprint, LoadError>;

    /// Reads the weights.
    fn load(&self) -> Result<Self::Weights, LoadError>;

    /// Makes one worker's model.
    fn build(&self, weights: &Arc<Self::Weights>) -> Result<Self::Model, LoadError>;

    /// Refuses a request that no attempt could serve, before it is queued. Runs on the caller's thread.
    fn validate(&self, request: &C::Request) -> Result<(), InvalidRequest> {
        let _ = request;
        Ok(())
    }

    /// What a request weighs, in the unit of [`Capacity::cost`](crate::capability::Capacity::cost). Runs on
    /// the caller's thread, so it should be quick. Default: 1.
    fn cost(&self, request: &C::Request) -> u64 {
        let _ = request;
        1
    }
}

/// A model could not be loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The files are missing, damaged or not what they claim to be. Trying again does not help.
    #[error("{0}")]
    Invalid(#[source] Arc<dyn Error + Send + Sync>),
    /// Loading failed for a reason that may pass, such as input or output.
    #[error("{0}")]
    Failed(#[source] Arc<dyn Error + Send + Sync>),
}

impl LoadError {
    /// The files are unusable.
    pub fn invalid(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Invalid(Arc::from(cause.into()))
    }

    /// Loading failed but may succeed later.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(cause.into()))
    }

    /// Whether another attempt could end differently.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// A [`Loader`] with its own types hidden: what a lane holds.
pub(crate) trait AnyLoader<C: Capability>: Send + Sync {
    fn footprint(&self) -> Result<Footprint, LoadError>;
    fn load(&self) -> Result<AnyWeights, LoadError>;
    fn build(&self, weights: &AnyWeights) -> Result<Box<dyn Model<C>>, LoadError>;
    fn validate(&self, request: &C::Request) -> Result<(), InvalidRequest>;
    fn cost(&self, request: &C::Request) -> u64;
}

/// Weights with their type hidden.
pub(crate) type AnyWeights = Arc<dyn Any + Send + Sync>;

impl<C: Capability, L: Loader<C>> AnyLoader<C> for L {
    fn footprint(&self) -> Result<Footprint, LoadError> {
        Loader::footprint(self)
    }

    fn load(&self) -> Result<AnyWeights, LoadError> {
        Ok(Arc::new(Loader::load(self)?))
    }

    fn build(&self, weights: &AnyWeights) -> Result<Box<dyn Model<C>>, LoadError> {
        let weights = Arc::clone(weights).downcast().expect("a loader is given back the weights it loaded");
        Ok(Box::new(Loader::build(self, &weights)?))
    }

    fn validate(&self, request: &C::Request) -> Result<(), InvalidRequest> {
        Loader::validate(self, request)
    }

    fn cost(&self, request: &C::Request) -> u64 {
        Loader::cost(self, request)
    }
}

impl<C: Capability> fmt::Debug for dyn AnyLoader<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loader")
    }
}

/// The loader of models that need no weights: a function makes each.
#[derive(Clone, Copy, Debug)]
pub struct BuildWith<F> {
    make: F,
    footprint: Footprint,
}

impl<F> BuildWith<F> {
    /// Makes each worker's model by calling `make`, at no predicted cost in memory.
    pub fn new(make: F) -> Self {
        Self { make, footprint: Footprint::default() }
    }

    /// Predicts that a model takes `footprint`.
    #[must_use]
    pub fn footprint(mut self, footprint: Footprint) -> Self {
        self.footprint = footprint;
        self
    }
}

impl<C, M, F> Loader<C> for BuildWith<F>
where
    C: Capability,
    M: Model<C> + 'static,
    F: Fn() -> M + Send + Sync + 'static,
{
    type Weights = ();
    type Model = M;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        Ok(self.footprint)
    }

    fn load(&self) -> Result<(), LoadError> {
        Ok(())
    }

    fn build(&self, _: &Arc<()>) -> Result<M, LoadError> {
        Ok((self.make)())
    }
}
