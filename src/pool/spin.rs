//! How long a thread that waits stays awake.
//!
//! To sleep and be woken costs more than a short job: some microseconds on either side, and while both sides
//! sleep in turn they never work at the same time. So where answers come soon, waiting threads stay awake a
//! little longer than they usually would; they give way to any other thread that wants the processor.

use std::time::Duration;

/// How soon is soon. Staying awake longer than it takes to sleep and wake several times gains nothing.
pub(crate) const SOON: Duration = Duration::from_micros(50);

/// How often it asks without growing pauses.
#[cfg(not(loom))]
const EAGER: usize = 64;

/// Asks until there is something, for a moment and then up to `patience`.
#[cfg(not(loom))]
pub(crate) fn awake<R>(patience: Duration, mut ask: impl FnMut() -> Option<R>) -> Option<R> {
    // One pause at a time at first: what comes within a microsecond is seen at once.
    for _ in 0..EAGER {
        if let Some(found) = ask() {
            return Some(found);
        }
        std::hint::spin_loop();
    }
    let backoff = crossbeam_utils::Backoff::new();
    let mut until = None;
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if backoff.is_completed() {
            let now = std::time::Instant::now();
            if now >= *until.get_or_insert(now + patience) {
                return None;
            }
        }
        backoff.snooze();
    }
}

/// Time does not pass in models, so once is enough.
#[cfg(loom)]
pub(crate) fn awake<R>(_: Duration, mut ask: impl FnMut() -> Option<R>) -> Option<R> {
    ask()
}
