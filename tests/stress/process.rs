//! What the whole process has, as Linux tells it.

use std::fs;

use parking_lot::{Mutex, MutexGuard};

/// These tests look at the whole process, so that only one runs at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock();
    quiet();
    guard
}

/// Panics that the tests ask for are not printed: there are thousands.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !is_pools(std::thread::current().name().unwrap_or_default()) {
                loud(info);
            }
        }));
    });
}

fn is_pools(thread: &str) -> bool {
    thread.starts_with("scripted-")
}

/// Threads that belong to pools.
pub(crate) fn pool_threads() -> usize {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0 };
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks
        .flatten()
        .filter(|task| fs::metadata(task.path()).is_ok())
        .map(name)
        .filter(|name| is_pools(name))
        .count()
}

/// What the process occupies, in bytes.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Open files.
pub(crate) fn files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
