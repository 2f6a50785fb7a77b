//! What has to be done so that other settings hold.

use crate::capability::Capabilities;
use crate::cli::settings::ModelSettings;

/// A model in one pool.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Served {
    pub(super) settings: ModelSettings,
    pub(super) capability: Capabilities,
}

/// One thing that has to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change<'a> {
    /// The model is made known, in place of another of its name if there is one.
    Put(&'a Served),
    /// The same model is served otherwise.
    Configure(&'a Served),
    /// Nobody wants it any more.
    Remove(&'a Served),
}

/// From what is served to what shall be. What stays as it is is not touched.
pub(super) fn between<'a>(before: &'a [Served], after: &'a [Served]) -> Vec<Change<'a>> {
    let same_place =
        |a: &Served, b: &Served| a.settings.key == b.settings.key && a.capability == b.capability;
    let wanted = after.iter().filter_map(|served| match before.iter().find(|old| same_place(old, served)) {
        None => Some(Change::Put(served)),
        Some(old) if !is_same_model(&old.settings, &served.settings) => Some(Change::Put(served)),
        Some(old) if !is_served_alike(&old.settings, &served.settings) => Some(Change::Configure(served)),
        Some(_) => None,
    });
    let unwanted = before.iter().filter(|old| !after.iter().any(|served| same_place(old, served)));
    wanted.chain(unwanted.map(Change::Remove)).collect()
}

/// Whether what is in memory for the one will do for the other.
pub(super) fn is_same_model(a: &ModelSettings, b: &ModelSettings) -> bool {
    let loads = |it: &ModelSettings| {
        // Where nobody says how many threads a worker has, that comes from how many workers there may be.
        let shares = it.threads.is_none().then_some(it.workers);
        (it.source.clone(), it.threads, shares, it.dtype, it.quantize, it.kv_format, it.cache_tokens)
    };
    loads(a) == loads(b)
}

/// Whether nothing that a pool is told differs.
fn is_served_alike(a: &ModelSettings, b: &ModelSettings) -> bool {
    let told = |it: &ModelSettings| (it.workers, it.keep_alive, it.queue, it.rate_limit, it.pin);
    told(a) == told(b)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;
    use crate::cli::settings::Settings;

    fn served(key: &str, capability: Capabilities) -> Served {
        let mut settings = Settings::load_text("").for_all().unwrap();
        (settings.key, settings.source) = (key.to_owned(), key.to_owned());
        Served { settings, capability }
    }

    #[test]
    fn only_what_differs_is_touched() {
        let [embed, see] = [Capabilities::TextEmbedding, Capabilities::ImageEmbedding];
        let before = [served("a", embed), served("b", embed), served("c", see), served("d", see)];
        let mut after = [served("a", embed), served("b", embed), served("c", embed), served("d", see)];
        after[1].settings.keep_alive = Duration::MAX;
        after[3].settings.source = "other".to_owned();
        let expected = [
            Change::Configure(&after[1]),
            Change::Put(&after[2]),
            Change::Put(&after[3]),
            Change::Remove(&before[2]),
        ];
        assert_eq!(between(&before, &after), expected);
        assert_eq!(between(&before, &before), []);
        assert_eq!(between(&[], &before).len(), 4);
        // As many threads for each of other workers, or others.
        let (mut before, one) = (before, NonZeroUsize::MIN);
        let mut other = before.clone();
        before[1].settings.threads = Some(one);
        other[1].settings.threads = Some(one);
        other[..2].iter_mut().for_each(|served| served.settings.workers.exactly = Some(3));
        assert_eq!(between(&before, &other), [Change::Put(&other[0]), Change::Configure(&other[1])]);
        // Who wants it loaded at the next start changes nothing now.
        let mut preloaded = before.clone();
        preloaded[0].settings.preload = true;
        assert_eq!(between(&before, &preloaded), []);
    }
}
