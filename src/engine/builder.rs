//! What is decided before an engine starts.

use std::num::NonZeroUsize;

use parking_lot::RwLock;

use super::{Capabilities, Cores, Engine};
use crate::clock::Clock;
use crate::error::Error;
use crate::kernels::threads;
use crate::memory::MemoryBudget;
use crate::pool::{Pool, PoolConfig};

/// Makes an [`Engine`].
#[derive(Debug, Default)]
pub struct EngineBuilder {
    config: Option<PoolConfig>,
    budget: Option<MemoryBudget>,
    clock: Option<Clock>,
    threads_per_worker: Option<NonZeroUsize>,
}

impl EngineBuilder {
    /// How all the pools behave. Default: as [`Engine::default_config`] says, with no more workers for a key than
    /// there are cores.
    #[must_use]
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = Some(config);
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
        self.clock = Some(clock);
        self
    }

    /// How many threads each worker computes on. Default: the cores divided by the most workers that a key
    /// may have, at least 1. Without a [`config`](Self::config), a key of text embedding may have as many
    /// workers as there are cores for.
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
        let (clock, cores) = (self.clock.unwrap_or_else(Clock::system), Cores::available());
        let threads_per_worker = self.threads_per_worker;
        let embedding = || match threads_per_worker {
            Some(threads) => cores.embedding_on(threads),
            None => cores.embedding(),
        };
        macro_rules! pool {
            ($default:expr) => {
                Pool::builder()
                    .config(self.config.clone().unwrap_or_else($default))
                    .budget(budget.clone())
                    .clock(clock.clone())
                    .build()?
            };
        }
        Ok(Engine {
            text_embedding: pool!(embedding),
            text_to_text: pool!(|| cores.pool_of(Capabilities::TextToText)),
            image_embedding: pool!(embedding),
            vision: pool!(|| cores.pool_of(Capabilities::Vision)),
            text_to_image: pool!(|| cores.pool_of(Capabilities::TextToImage)),
            budget,
            threads_per_worker,
            facts: RwLock::default(),
        })
    }
}
