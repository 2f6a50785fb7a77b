//! Ctrl-C, and the system's other requests to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, bounded};

use super::failure::{Failure, INTERRUPTED};

/// Listens for Ctrl-C from now on.
///
/// Until [`orderly`](Self::orderly) is called, nothing is under way that could be ended in order, and the
/// process ends at once. From then on the first Ctrl-C is a message, and a second one ends the process.
pub(super) struct Interrupt {
    orderly: Arc<AtomicBool>,
    asked: Receiver<()>,
}

impl Interrupt {
    pub(super) fn listen() -> Result<Self, Failure> {
        let orderly = Arc::new(AtomicBool::new(false));
        let (ask, asked) = bounded(1);
        let heeded = orderly.clone();
        ctrlc::set_handler(move || {
            // A message that is still there, or was taken: this is not the first Ctrl-C.
            if !heeded.swap(false, Ordering::AcqRel) || ask.try_send(()).is_err() {
                std::process::exit(i32::from(INTERRUPTED));
            }
        })?;
        Ok(Self { orderly, asked })
    }

    /// From now on somebody heeds [`asked`](Self::asked).
    pub(super) fn orderly(&self) {
        self.orderly.store(true, Ordering::Release);
    }

    /// Where the first Ctrl-C arrives.
    pub(super) fn asked(&self) -> &Receiver<()> {
        &self.asked
    }
}
