//! Whom to let go when memory is needed: a pure choice over what is idle anywhere under one budget.

use std::time::Duration;

/// Something that could be let go: one worker, or all workers of a key together with its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Which key, by any number that is the same for the candidates of one key.
    pub(crate) lane: usize,
    /// Whether it is the whole key.
    pub(crate) whole: bool,
    /// What it gives back.
    pub(crate) bytes: u64,
    /// How long it has been idle.
    pub(crate) idle: Duration,
    /// How long it would take to have it back.
    pub(crate) reload: Duration,
}

impl Candidate {
    /// What is idle long, frees much and is soon loaded again goes first.
    fn score(&self) -> f64 {
        self.idle.as_secs_f64() * self.bytes as f64 / self.reload.as_secs_f64().max(1e-3)
    }
}

/// Picks candidates that together give back `need` bytes, or none if all of them do not suffice.
///
/// 1. One that suffices alone, the best by (idle time x bytes) / reload time.
/// 2. Otherwise the best one after the other until they suffice, less those that turn out superfluous.
///
/// No key is picked both as a whole and in part. The answer is advice: each owner still decides, within its
/// own transition, whether its worker is idle.
pub(crate) fn choose(candidates: &[Candidate], need: u64) -> Option<Vec<usize>> {
    if need == 0 {
        return Some(Vec::new());
    }
    let mut by_score: Vec<usize> = (0..candidates.len()).collect();
    by_score.sort_by(|a, b| candidates[*b].score().total_cmp(&candidates[*a].score()).then(a.cmp(b)));
    // 1
    if let Some(one) = by_score.iter().find(|index| candidates[**index].bytes >= need) {
        return Some(vec![*one]);
    }
    // 2
    let mut chosen: Vec<usize> = Vec::new();
    let total = |chosen: &[usize]| chosen.iter().map(|index| candidates[*index].bytes).sum::<u64>();
    for index in by_score {
        if total(&chosen) >= need {
            break;
        }
        let candidate = &candidates[index];
        let rival = |other: &usize| {
            candidates[*other].lane == candidate.lane && (candidate.whole || candidates[*other].whole)
        };
        if candidate.whole {
            chosen.retain(|other| !rival(other));
        } else if chosen.iter().any(rival) {
            continue;
        }
        chosen.push(index);
    }
    if total(&chosen) < need {
        return None;
    }
    for index in chosen.clone().into_iter().rev() {
        if total(&chosen) - candidates[index].bytes >= need {
            chosen.retain(|other| *other != index);
        }
    }
    Some(chosen)
}
