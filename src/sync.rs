//! The synchronisation primitives of everything that is model-checked: the real ones, or loom's stand-ins
//! under `--cfg loom`, with one interface. No lock here is ever poisoned: a panic while one is held is a
//! bug in millpond, and what the lock guards is changed only by code that cannot panic half-way.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use self::sequential::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

#[cfg(not(loom))]
mod real {
    use std::time::Instant;

    pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
    pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};

    /// A condition variable whose guard goes in and comes out.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        pub(crate) fn wait_until<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            at: Instant,
        ) -> MutexGuard<'a, T> {
            self.0.wait_until(&mut guard, at);
            guard
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// loom's atomics, with one thing put right: loom takes the value that an atomic is made with for a weaker
/// write than a sequentially consistent one, and lets sequentially consistent loads read it after it was
/// overwritten, which no machine does. Here it is written once more, as the first of the atomic's writes.
#[cfg(loom)]
mod sequential {
    pub(crate) use loom::sync::atomic::Ordering;

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    let atomic = loom::sync::atomic::$name::new(value);
                    atomic.store(value, Ordering::SeqCst);
                    Self(atomic)
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new(<$value>::default())
                }
            }

            impl std::ops::Deref for $name {
                type Target = loom::sync::atomic::$name;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);
}

#[cfg(loom)]
mod real {
    use std::ops::Deref;
    use std::sync::Arc;
    use std::time::Instant;

    pub(crate) use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    use super::{AtomicUsize, Ordering};

    const UNPOISONED: &str = "loom models do not panic under a lock";

    /// loom's mutex with parking_lot's interface.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect(UNPOISONED)
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    /// loom's lock with parking_lot's interface.
    #[derive(Debug)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect(UNPOISONED)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect(UNPOISONED)
        }
    }

    impl<T: Default> Default for RwLock<T> {
        fn default() -> Self {
            Self(loom::sync::RwLock::new(T::default()))
        }
    }

    /// loom's condition variable; it knows no time, so a timed wait waits for its notification.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).expect(UNPOISONED)
        }

        pub(crate) fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, _: Instant) -> MutexGuard<'a, T> {
            self.wait(guard)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// The real channel, with a step before each use of it that loom can put other threads' steps between.
    /// It is taken to be what it is, a queue all whose operations have one order; the step orders nothing
    /// else, so what relies on more than that fails.
    #[derive(Debug)]
    pub(crate) struct Sender<T>(crossbeam_channel::Sender<T>, Arc<AtomicUsize>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(crossbeam_channel::Receiver<T>, Arc<AtomicUsize>);

    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let steps = Arc::new(AtomicUsize::new(0));
        (Sender(sender, steps.clone()), Receiver(receiver, steps))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, message: T) -> Result<(), crossbeam_channel::SendError<T>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.send(message)
        }
    }

    impl<T> Deref for Receiver<T> {
        type Target = crossbeam_channel::Receiver<T>;

        fn deref(&self) -> &Self::Target {
            self.1.fetch_add(1, Ordering::Relaxed);
            &self.0
        }
    }
}

pub(crate) use real::{Condvar, Mutex, MutexGuard, Receiver, RwLock, Sender, unbounded};

/// Runs `check` under every order of its threads' steps that takes at most two preemptions, or as many as
/// the environment says.
#[cfg(all(test, loom))]
pub(crate) fn in_every_order(check: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(2);
    model.check(check);
}
