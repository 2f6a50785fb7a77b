//! A pool of closures, ready to use.

use super::error::{PoolError, SpawnError, SubmitError};
use super::key_config::KeyConfig;
use super::loader::BuildWith;
use super::options::SubmitOptions;
use super::registration::RegisterError;
use super::ticket::Ticket;
use super::{Pool, PoolConfig};
use crate::capability::{Task, TaskContext, TaskRunner, Tasks};
use crate::id::RegistryKey;

/// The key under which [`Pool::background`] runs its tasks.
const KEY: &str = "tasks";

impl Pool<Tasks> {
    /// A background job pool: its workers start at once and stay.
    ///
    /// ```
    /// use millpond::pool::{Pool, PoolConfig};
    /// let pool = Pool::background(PoolConfig::background().workers(2))?;
    /// let answer = pool.spawn(|_| Ok::<_, std::io::Error>(6 * 7))?.wait()?;
    /// assert_eq!(answer.downcast_ref(), Some(&42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn background(config: PoolConfig) -> Result<Self, PoolError> {
        let failed = |source| PoolError::SpawnFailed { key: KEY.into(), source };
        let pool = Self::new(config).map_err(failed)?;
        pool.register_tasks(KEY).map_err(|error| failed(SpawnError::Thread(error.to_string().into())))?;
        pool.preload(KEY)?;
        Ok(pool)
    }

    /// Makes a key for tasks, beside others of the same pool.
    pub fn register_tasks(&self, key: impl Into<RegistryKey>) -> Result<(), RegisterError> {
        self.register_tasks_with(key, KeyConfig::of(self.config()))
    }

    /// Makes a key for tasks, with settings of its own.
    pub fn register_tasks_with(
        &self,
        key: impl Into<RegistryKey>,
        config: KeyConfig,
    ) -> Result<(), RegisterError> {
        self.register_with(key, BuildWith::new(TaskRunner::default), config)
    }

    /// Runs a closure on a worker of the background pool.
    pub fn spawn<T, E>(
        &self,
        run: impl FnOnce(&TaskContext) -> Result<T, E> + Send + 'static,
    ) -> Result<Ticket<Tasks>, SubmitError<Tasks>>
    where
        T: Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.submit(KEY, Task::once(run))
    }

    /// Runs a task on a worker of the background pool, with options.
    pub fn spawn_with(
        &self,
        task: Task,
        options: SubmitOptions<Tasks>,
    ) -> Result<Ticket<Tasks>, SubmitError<Tasks>> {
        self.submit_with(KEY, task, options)
    }
}
