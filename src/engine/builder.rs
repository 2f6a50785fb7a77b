//! What is decided before an engine starts.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use super::Engine;
use crate::clock::Clock;
use crate::error::Error;
use crate::kernels::threads;
use crate::memory::MemoryBudget;
use crate::pool::{Pool, PoolConfig};

/// Makes an [`Engine`].
#[derive(Debug)]
pub struct EngineBuilder {
    config: PoolConfig,
    budget: Option<MemoryBudget>,
    clock: Clock,
    threads_per_worker: Option<NonZeroUsize>,
}

impl EngineBuilder {
    pub(super) fn new(config: PoolConfig) -> Self {
        Self { config, budget: None, clock: Clock::system(), threads_per_worker: None }
    }

    /// How the pools behave. Default: [`Engine::default_config`].
    #[must_use]
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// The memory that all pools share. Default: [`MemoryBudget::system`].
    #[must_use]
    pub fn budget(mut self, budget: MemoryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// The pools' clock. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many threads each worker computes on. Default: the cores divided by the workers a key may have,
    /// at least 1; that is all of them for a key of text generation with one worker.
    #[must_use]
    pub fn threads_per_worker(mut self, threads: NonZeroUsize) -> Self {
        self.threads_per_worker = Some(threads);
        self
    }

    /// Starts the pools. Nothing is loaded yet.
    pub fn build(self) -> Result<Engine, Error> {
        if let Err(unconfigured) = threads::check() {
            tracing::warn!("{unconfigured}");
        }
        let budget = self.budget.unwrap_or_else(MemoryBudget::system);
        let (config, clock) = (self.config, self.clock);
        let chosen_threads = self.threads_per_worker;
        let threads_per_worker = chosen_threads.unwrap_or_else(|| share_of_cores(config.max_workers));
        macro_rules! pool {
            () => {
                Pool::builder().config(config.clone()).budget(budget.clone()).clock(clock.clone()).build()?
            };
        }
        Ok(Engine {
            text_embedding: pool!(),
            text_to_text: pool!(),
            image_embedding: pool!(),
            vision: pool!(),
            text_to_image: pool!(),
            budget,
            threads_per_worker,
            chosen_threads,
        })
    }
}

pub(super) fn cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The threads that each of `workers` gets when they divide the cores: at least 1.
pub(super) fn share_of_cores(workers: usize) -> NonZeroUsize {
    NonZeroUsize::new(cores().get() / workers.max(1)).unwrap_or(NonZeroUsize::MIN)
}
