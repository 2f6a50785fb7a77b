//! Which worker gets the next job: a pure choice over a snapshot of what is pending.

/// One worker as dispatch sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Whether it serves and has room for the job at hand.
    pub(crate) takes: bool,
    /// The cost pending at it.
    pub(crate) pending: u64,
}

/// Picks the worker with the least pending cost among those that take the job; the first of equals, so that
/// surplus workers at the end stay idle and can be let go.
///
/// 1. A `preferred` worker (a session's cache is warm there) wins while no other is less busy.
/// 2. An idle worker ends the search.
/// 3. Otherwise the least pending cost wins.
///
/// `None` means that nobody has room. The answer is advice: the caller still has to charge the worker.
#[inline]
pub(crate) fn pick(loads: impl Iterator<Item = Load>, preferred: Option<usize>) -> Option<usize> {
    let mut best: Option<(usize, u64)> = None;
    let mut favoured = None;
    for (index, load) in loads.enumerate().filter(|(_, load)| load.takes) {
        if Some(index) == preferred {
            favoured = Some((index, load.pending));
        }
        if best.is_none_or(|(_, least)| load.pending < least) {
            best = Some((index, load.pending));
        }
        if load.pending == 0 && (preferred.is_none() || favoured.is_some()) {
            break;
        }
    }
    match (favoured, best) {
        (Some((index, pending)), Some((_, least))) if pending <= least => Some(index),
        (_, best) => best.map(|(index, _)| index),
    }
}
