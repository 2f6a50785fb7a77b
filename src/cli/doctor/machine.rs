//! Processor, cores, threads, memory.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use super::Finding;
use crate::id::ByteSize;
use crate::kernels::{Dtype, threads};
use crate::memory::{MemoryBudget, MemoryProbe, SystemProbe};

/// With less there is hardly a model to serve.
const LITTLE: ByteSize = ByteSize::mib(512);

/// Which instructions there are to multiply matrices with.
pub(super) fn processor() -> Finding {
    let what = "processor";
    let features = features();
    let found = match (features.is_empty(), Dtype::Auto.is_bf16()) {
        (true, _) => std::env::consts::ARCH.to_owned(),
        (false, false) => format!("{} with {}", std::env::consts::ARCH, features.join(", ")),
        (false, true) => format!("{} with {}: bf16 by default", std::env::consts::ARCH, features.join(", ")),
    };
    if cfg!(target_arch = "x86_64") && !features.contains(&"avx2") {
        return Finding::warn(what, found, "without AVX2 models compute several times slower");
    }
    if cfg!(target_arch = "x86_64") && !features.contains(&"fma") {
        return Finding::warn(what, found, "without FMA models compute slower");
    }
    Finding::ok(what, found)
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! look {
        ($($name:tt),*) => { $(if std::is_x86_feature_detected!($name) { found.push($name); })* };
    }
    look!("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vnni", "avx512bf16");
    if Dtype::Auto.is_bf16() {
        found.push("amx-bf16");
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// How many cores this process may use, of how many.
pub(super) fn cores() -> Finding {
    let what = "cores";
    let ours = available_parallelism().map_or(1, NonZeroUsize::get);
    let listed = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let all = listed.lines().filter(|line| line.starts_with("processor")).count().max(ours);
    match (ours, all) {
        (ours, all) if ours < all => {
            let found = format!("{ours} of {all}: the cgroup or the affinity allows no more");
            Finding::ok(what, found)
        }
        (1, _) => Finding::warn(what, "1", "models share the one core with all else on this machine"),
        (ours, _) => Finding::ok(what, ours.to_string()),
    }
}

/// Whether the libraries that compute keep to the threads of their workers.
pub(super) fn threads() -> Finding {
    let what = "threads";
    match threads::check() {
        Ok(()) => Finding::ok(what, "each worker computes on its own"),
        Err(unset) => {
            let advice = format!("set {} before the start", unset.unset.join(" "));
            Finding::warn(what, "workers will hinder each other", advice)
        }
    }
}

/// How much memory models may take.
pub(super) fn memory() -> Finding {
    let what = "memory";
    let (now, budget) = (SystemProbe::new().read(), MemoryBudget::system());
    let within = match now.cgroup_limit {
        ByteSize::MAX => String::new(),
        limit => format!(", the cgroup has {limit}"),
    };
    let status = budget.status();
    let found = format!(
        "{} in all{within}, {} available; models may take {}, {} of it now",
        now.total, now.available, status.limit, status.free
    );
    if status.free < LITTLE {
        let advice = "end what else takes memory, or give the process more; `millpond list` shows what fits";
        return Finding::warn(what, found, advice);
    }
    Finding::ok(what, found)
}
