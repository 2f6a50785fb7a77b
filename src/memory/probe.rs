//! How much memory there is.

use std::fmt;

use parking_lot::Mutex;
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::id::ByteSize;

/// Reads the memory of the place where the process runs.
pub trait MemoryProbe: Send + Sync + 'static {
    /// The figures now. Called before every load and about once a second while models are loaded.
    fn read(&self) -> MemoryReading;
}

/// What a [`MemoryProbe`] sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryReading {
    /// The machine's memory.
    pub total: ByteSize,
    /// What the process's cgroup may use; [`ByteSize::MAX`] when nothing limits it.
    pub cgroup_limit: ByteSize,
    /// What could be taken now without pushing anything out: page cache counts as available.
    pub available: ByteSize,
    /// What the process occupies.
    pub resident: ByteSize,
}

impl MemoryReading {
    const UNKNOWN: Self = Self {
        total: ByteSize::MAX,
        cgroup_limit: ByteSize::MAX,
        available: ByteSize::MAX,
        resident: ByteSize::ZERO,
    };
}

impl<F: Fn() -> MemoryReading + Send + Sync + 'static> MemoryProbe for F {
    fn read(&self) -> MemoryReading {
        self()
    }
}

/// Reads the system's own figures.
pub struct SystemProbe {
    pid: Option<Pid>,
    /// `None` where the system tells nothing: then only a configured cap limits.
    system: Mutex<Option<System>>,
}

impl SystemProbe {
    /// A probe of this process and the machine it runs on.
    pub fn new() -> Self {
        Self { pid: sysinfo::get_current_pid().ok(), system: Mutex::new(System::new().ok()) }
    }
}

impl MemoryProbe for SystemProbe {
    fn read(&self) -> MemoryReading {
        let mut system = self.system.lock();
        let Some(system) = system.as_mut() else { return MemoryReading::UNKNOWN };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        if let Some(pid) = self.pid {
            let memory = ProcessRefreshKind::nothing().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
        }
        let process = self.pid.and_then(|pid| system.process(pid));
        let total = system.total_memory();
        // A cgroup without a limit reports a number near 2^63, or the machine's memory.
        let cgroup = process.and_then(sysinfo::Process::cgroup_limits).filter(|c| c.total_memory < total);
        // What the cgroup counts as used includes page cache that it would drop first, so its "free" figure
        // says too little; the limit less what is really resident is the better guess.
        let in_cgroup = cgroup.as_ref().map_or(u64::MAX, |c| c.total_memory.saturating_sub(c.rss));
        MemoryReading {
            total: ByteSize::new(total),
            cgroup_limit: cgroup.map_or(ByteSize::MAX, |c| ByteSize::new(c.total_memory)),
            available: ByteSize::new(system.available_memory().min(in_cgroup)),
            resident: ByteSize::new(process.map_or(0, sysinfo::Process::memory)),
        }
    }
}

impl Default for SystemProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SystemProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemProbe({:?})", self.read())
    }
}
