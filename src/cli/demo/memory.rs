//! The one memory budget, which gets tight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::page::Page;
use crate::cli::failure::Failure;
use crate::engine::Engine;
use crate::id::ByteSize;
use crate::memory::{MemoryBudget, MemoryProbe, MemoryReading, SystemProbe};

/// How much the models may take, of what the machine has.
#[derive(Clone)]
pub(super) struct Allowance(Arc<AtomicU64>);

impl Default for Allowance {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Allowance {
    /// A budget that follows it.
    pub(super) fn budget(&self) -> MemoryBudget {
        let (allowed, system) = (self.0.clone(), SystemProbe::new());
        MemoryBudget::new(1.0, move || {
            let reading = system.read();
            let total = reading.total.min(reading.cgroup_limit).fraction(MemoryBudget::DEFAULT_FRACTION);
            let allowed = ByteSize::new(allowed.load(Ordering::Relaxed));
            MemoryReading { total: total.min(allowed), ..reading }
        })
    }
}

/// From now on there is no more memory than the models take that are loaded.
pub(super) fn tighten(page: &mut Page, engine: &Engine, allowance: &Allowance) -> Result<(), Failure> {
    let budget = engine.budget();
    let (before, taken) = (budget.limit(), budget.reserved());
    allowance.0.store(taken.bytes(), Ordering::Relaxed);
    budget.refresh();
    page.say(format_args!(
        "\nUp to here models could take {before}, and they take {taken}. From here on that is all there is, for whoever \
         comes next: somebody has to go."
    ))
}
