//! How the machine's cores are shared out: N workers of k threads, and N x k no more than there are.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use super::Capabilities;
use crate::pool::PoolConfig;

/// How many threads a worker that embeds has at least, on machines that have them. A pass is computed in
/// pieces, so that threads of one worker do as much as workers of one thread, and answer a lone text sooner;
/// from about so many on, a short text has no more pieces to share out.
const EMBEDDING_THREADS: NonZeroUsize = NonZeroUsize::new(4).expect("it is not 0");

/// How many cores there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores(NonZeroUsize);

impl Cores {
    /// Those that this process may use.
    pub(crate) fn available() -> Self {
        Self(available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// How many threads each of so many workers gets; at least 1.
    pub(crate) fn threads_each(self, workers: usize) -> NonZeroUsize {
        NonZeroUsize::new(self.0.get() / workers.max(1)).unwrap_or(NonZeroUsize::MIN)
    }

    /// How many workers of so many threads there are cores for; at least 1.
    fn workers_of(self, threads: NonZeroUsize) -> usize {
        (self.0.get() / threads).max(1)
    }

    /// The pool of a capability.
    pub(crate) fn pool_of(self, capability: Capabilities) -> PoolConfig {
        match capability {
            Capabilities::TextEmbedding | Capabilities::ImageEmbedding => self.embedding(),
            Capabilities::TextToText | Capabilities::Vision | Capabilities::TextToImage => {
                PoolConfig::default().workers(1)
            }
        }
    }

    /// A pool of text or image embedding: one worker at first, and as many as there are cores for when work piles up.
    pub(crate) fn embedding(self) -> PoolConfig {
        self.embedding_on(EMBEDDING_THREADS)
    }

    /// As [`embedding`](Self::embedding), with workers of so many threads.
    pub(crate) fn embedding_on(self, threads: NonZeroUsize) -> PoolConfig {
        let mut config = PoolConfig::default();
        (config.initial_workers, config.max_workers) = (1, self.workers_of(threads));
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    #[test]
    fn workers_times_threads_never_exceed_the_cores() {
        for cores in 1..=130 {
            let machine = Cores(count(cores));
            let config = machine.embedding();
            let threads = machine.threads_each(config.max_workers).get();
            assert!(config.max_workers * threads <= cores, "{cores} cores");
            assert!(threads >= cores.min(4), "{threads} threads of {cores} cores");
            assert_eq!(config.initial_workers, 1);
            for k in 1..=cores {
                let config = machine.embedding_on(count(k));
                assert!(config.max_workers * k <= cores && (config.max_workers + 1) * k > cores);
                assert!(machine.threads_each(k).get() * k <= cores);
            }
        }
    }

    #[test]
    fn what_is_more_than_the_machine_has_gets_one_each() {
        let machine = Cores(count(2));
        assert_eq!(machine.threads_each(9), NonZeroUsize::MIN);
        assert_eq!(machine.embedding_on(count(9)).max_workers, 1);
    }

    #[test]
    fn common_machines() {
        for (cores, workers, threads) in [(1, 1, 1), (2, 1, 2), (4, 1, 4), (6, 1, 6), (8, 2, 4), (64, 16, 4)]
        {
            let machine = Cores(count(cores));
            let most = machine.embedding().max_workers;
            assert_eq!((most, machine.threads_each(most).get()), (workers, threads), "{cores} cores");
        }
    }
}
