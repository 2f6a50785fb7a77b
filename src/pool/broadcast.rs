//! One sender, any number of listeners, none of whom can hold it up.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

/// Copies each message to every listener that has room for it. A listener that has none misses it; one
/// that is gone is forgotten.
#[derive(Debug)]
pub(crate) struct Broadcast<T> {
    listeners: Mutex<Vec<Sender<T>>>,
    /// How many there are: with none, messages need not even be made.
    listening: AtomicUsize,
}

impl<T> Default for Broadcast<T> {
    fn default() -> Self {
        Self { listeners: Mutex::default(), listening: AtomicUsize::new(0) }
    }
}

impl<T: Clone> Broadcast<T> {
    /// A channel of what is sent from now on, with room for `capacity` messages.
    pub(crate) fn subscribe(&self, capacity: usize) -> Receiver<T> {
        let (sender, receiver) = bounded(capacity.max(1));
        let mut listeners = self.listeners.lock();
        listeners.push(sender);
        self.listening.store(listeners.len(), Ordering::Release);
        receiver
    }

    #[inline]
    pub(crate) fn has_listeners(&self) -> bool {
        self.listening.load(Ordering::Acquire) > 0
    }

    /// Returns how many listeners missed the message.
    pub(crate) fn send(&self, message: &T) -> usize {
        if !self.has_listeners() {
            return 0;
        }
        let mut missed = 0;
        let mut listeners = self.listeners.lock();
        listeners.retain(|listener| match listener.try_send(message.clone()) {
            Ok(()) => true,
            Err(error) => {
                let listens = error.is_full();
                missed += usize::from(listens);
                listens
            }
        });
        self.listening.store(listeners.len(), Ordering::Release);
        missed
    }
}
