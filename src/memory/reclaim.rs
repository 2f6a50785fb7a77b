//! How one pool gets memory back from another.

use std::time::Duration;

use crate::id::{ByteSize, RegistryKey, WorkerId};

/// Somebody who holds memory that could be given back. Every pool registers itself with its budget.
pub(crate) trait Reclaim: Send + Sync {
    /// What is held, as advice: it may have changed by the time anyone acts on it.
    fn holds(&self) -> Vec<Hold>;

    /// What has been given up already and will be back as soon as its worker has stopped.
    fn coming_back(&self) -> ByteSize;

    /// Asks to give something up. The owner decides, at that moment: an idle worker goes, a busy one goes
    /// only with [`Insistence::FinishFirst`], and then only after finishing what it has.
    fn give_up(&self, hold: &Hold, insistence: Insistence);
}

/// One worker's memory, or all of a key's.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) key: RegistryKey,
    pub(crate) workers: Vec<WorkerId>,
    /// Whether these are all workers of the key, so that its weights come back too.
    pub(crate) whole: bool,
    pub(crate) bytes: ByteSize,
    /// How long it has been idle; `None` while it is busy.
    pub(crate) idle: Option<Duration>,
    /// How long it has been loaded.
    pub(crate) residence: Duration,
    /// How long it would take to have it back.
    pub(crate) reload: Duration,
}

/// How hard to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insistence {
    /// Only if it is idle: to make room for another key.
    IfIdle,
    /// Only if it is idle: the budget itself shrank.
    IfIdleBudgetShrank,
    /// Busy or not, it takes no more and goes when it has finished what it has.
    FinishFirst,
}
