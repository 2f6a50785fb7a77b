//! What the pools did: as they do it, and in a table at the end.

use std::time::Duration;

use crossbeam_channel::Receiver;

use super::page::{INDENT, Page};
use crate::cli::events::in_words;
use crate::cli::failure::Failure;
use crate::engine::Engine;
use crate::pool::{KeyStatus, PoolEvent, What};

/// More than happen between two acts.
const EVENTS: usize = 256;

/// Where all pools say what they do.
pub(super) fn events(engine: &Engine) -> Vec<Receiver<PoolEvent>> {
    vec![
        engine.text_embedding().events(EVENTS),
        engine.text_to_text().events(EVENTS),
        engine.image_embedding().events(EVENTS),
        engine.vision().events(EVENTS),
        engine.text_to_image().events(EVENTS),
    ]
}

/// What happened up to now is not worth telling.
pub(super) fn forget(events: &[Receiver<PoolEvent>]) {
    events.iter().for_each(|events| events.try_iter().for_each(drop));
}

/// Who had to go, and who has come, since the last time.
pub(super) fn happened(page: &mut Page, events: &[Receiver<PoolEvent>]) -> Result<(), Failure> {
    let mut happened: Vec<_> = events.iter().flat_map(Receiver::try_iter).collect();
    happened.sort_by_key(|event| event.at);
    for PoolEvent { key, what, .. } in &happened {
        if matches!(what, What::Evicted { .. } | What::Ready { .. }) {
            page.say(format_args!("{INDENT}{key}: {}", in_words(what)))?;
        }
    }
    Ok(())
}

/// A table of all models, and the memory.
pub(super) fn tell(page: &mut Page, engine: &Engine) -> Result<(), Failure> {
    page.act("What the pools did", "")?;
    page.say(format_args!(
        "{INDENT}{:<16} {:<15} {:>7} {:>8} {:>9} {:>8} {:>8}",
        "model", "pool", "workers", "requests", "memory", "loading", "answer"
    ))?;
    for pool in &engine.status().pools {
        for key in &pool.keys {
            page.say(row(&pool.name, key))?;
        }
    }
    page.say(format_args!("{INDENT}Loading: on average; answer: half of them took no longer."))?;
    let memory = engine.budget().status();
    page.say(format_args!("{INDENT}Memory: {} reserved of a budget of {}.", memory.reserved, memory.limit))
}

fn row(pool: &str, key: &KeyStatus) -> String {
    let [loading, answer] = [key.load_time.mean(), key.run_time.quantile(0.5)].map(in_unit);
    format!(
        "{INDENT}{:<16} {pool:<15} {:>7} {:>8} {:>9} {loading:>8} {answer:>8}",
        key.key.to_string(),
        key.ready,
        key.completed + key.failed,
        key.memory.to_string(),
    )
}

fn in_unit(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds => format!("{:.1} ms", 1e3 * seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (micros, text) in [(840, "0.8 ms"), (131_060, "131.1 ms"), (2_097_152, "2.1 s")] {
            assert_eq!(in_unit(Duration::from_micros(micros)), text);
        }
    }
}
