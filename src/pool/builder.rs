//! Making a pool.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::unbounded;
use parking_lot::Mutex;

use super::error::SpawnError;
use super::lanes::Lanes;
use super::shared::Shared;
use super::shutdown::Owner;
use super::supervisor::{Holdings, Supervisor};
use super::{Pool, PoolConfig};
use crate::capability::Capability;
use crate::clock::Clock;
use crate::memory::MemoryBudget;

/// Makes a [`Pool`].
pub struct PoolBuilder<C> {
    config: PoolConfig,
    clock: Clock,
    budget: Option<MemoryBudget>,
    capability: PhantomData<C>,
}

impl<C: Capability> PoolBuilder<C> {
    /// How the pool behaves. Default: [`PoolConfig::default`].
    #[must_use]
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// The memory it shares with other pools. Default: one of its own, [`MemoryBudget::system`].
    #[must_use]
    pub fn budget(mut self, budget: MemoryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Its clock. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the pool's maintenance thread. Fails only when the system gives no thread.
    pub fn build(self) -> Result<Pool<C>, SpawnError> {
        let (commands, inbox) = unbounded();
        let budget = self.budget.unwrap_or_else(MemoryBudget::system);
        let shared = Arc::new(Shared::new(C::NAME, self.config, self.clock, budget, commands));
        let lanes: Arc<Lanes<C>> = Arc::default();
        let holdings = Arc::new(Holdings { shared: shared.clone(), lanes: lanes.clone() });
        let reclaim: std::sync::Weak<Holdings<C>> = Arc::downgrade(&holdings);
        shared.budget.register(reclaim);
        let supervisor = Supervisor::new(shared.clone(), lanes.clone(), inbox);
        let thread = thread::Builder::new()
            .name(format!("{}-pool", C::NAME))
            .spawn(move || supervisor.run())
            .map_err(|error| SpawnError::Thread(error.to_string().into()))?;
        Ok(Pool {
            owner: Arc::new(Owner {
                shared,
                lanes,
                held: Mutex::default(),
                supervisor: Arc::new(Mutex::new(Some(thread))),
                holdings,
            }),
        })
    }
}

impl<C: Capability> fmt::Debug for PoolBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<C: Capability> Pool<C> {
    /// A pool with this configuration, a memory budget of its own and the system's clock.
    pub fn new(config: PoolConfig) -> Result<Self, SpawnError> {
        Self::builder().config(config).build()
    }

    /// A pool with the defaults, to be changed before it is built.
    pub fn builder() -> PoolBuilder<C> {
        PoolBuilder {
            config: PoolConfig::default(),
            clock: Clock::system(),
            budget: None,
            capability: PhantomData,
        }
    }
}
