//! Every setting there is: one name, everywhere.
//!
//! A setting `keep_alive` is `--keep-alive` as a flag, `MILLPOND_KEEP_ALIVE` in the environment and `keep_alive` in
//! the file. What a model can be told is said for all models at the top of the file, and for one in its table.

use super::value::{Kind, Value};

/// A setting: what it is called and what it takes.
#[derive(Debug)]
pub(in crate::cli) struct Setting {
    pub(in crate::cli) name: &'static str,
    pub(in crate::cli) kind: Kind,
    pub(in crate::cli) about: About,
    /// What holds where nobody says anything, as a flag would say it; empty where that is nothing.
    pub(in crate::cli) default: &'static str,
    /// What it does, for `--help`.
    pub(in crate::cli) help: &'static str,
}

/// What a setting is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum About {
    /// The server.
    Server,
    /// What all models share.
    Memory,
    /// Each model: for all of them, or in a model's own table.
    Model,
}

/// What each model's table must hold.
pub(super) const SOURCE: Setting = setting(
    About::Model,
    "source",
    Kind::Text,
    "",
    "A folder, a GGUF file, a name that `millpond list` shows, or org/name[@revision] on the hub",
);

/// Where the tables of models are.
pub(super) const MODELS: &str = "models";

const MINUTES: &str = "5m";
const MOST: u64 = 1024;

/// All of them, in the order in which they are shown.
pub(in crate::cli) const ALL: &[Setting] = &[
    server("bind", Kind::Address, "127.0.0.1", "Listen on this address; beyond loopback a key is needed"),
    server(
        "port",
        Kind::Number(0, 65535),
        "11435",
        "Listen on this port; 0 takes any that is free and says which",
    ),
    server(
        "api_key",
        Kind::Texts,
        "",
        "Answer only those who send this key as `Authorization: Bearer KEY`; who is on this machine can read it here, and not in a file",
    ),
    server(
        "api_key_file",
        Kind::Text,
        "",
        "More such keys, one a line in this file; empty lines and # lines are skipped",
    ),
    server(
        "insecure",
        Kind::Switch,
        "false",
        "Listen beyond loopback without a key, where something else guards it",
    ),
    server("hosts", Kind::Texts, "", "Names besides loopback's under which browsers may call the server"),
    server("max_body", Kind::Size, "50MiB", "Refuse a request whose body is larger"),
    server(
        "max_head",
        Kind::Size,
        "64KiB",
        "Refuse a request whose first line and headers are larger together",
    ),
    server("max_headers", Kind::Number(1, 10_000), "100", "Refuse a request with more headers"),
    server("max_depth", Kind::Number(1, 1000), "64", "Refuse JSON that nests deeper"),
    server("max_pieces", Kind::Number(1, 1 << 32), "65536", "Refuse a body that comes in more pieces"),
    server("max_connections", Kind::Number(1, 1 << 20), "1024", "Serve so many connections at once"),
    server(
        "head_timeout",
        Kind::Time,
        "30s",
        "Close a connection whose next request's headers take longer to come",
    ),
    server("body_timeout", Kind::Time, "1m", "Refuse a request whose body takes longer to come"),
    server(
        "write_timeout",
        Kind::Time,
        "1m",
        "Close a connection whose other end takes nothing of an answer for so long",
    ),
    server(
        "request_timeout",
        Kind::Time,
        MINUTES,
        "End a request that takes longer, queueing and loading included",
    ),
    server(
        "drain_timeout",
        Kind::Time,
        "30s",
        "How long requests under way have to end once the server stops",
    ),
    server(
        "fetch_images",
        Kind::Switch,
        "false",
        "Fetch pictures that requests name by URL; public addresses only",
    ),
    server(
        "catalog",
        Kind::Text,
        "",
        "Look short names up in this folder of manifests; else ./models, then what came with millpond",
    ),
    setting(
        About::Memory,
        "memory",
        Kind::Size,
        "unlimited",
        "Let models take at most so much memory, whatever the machine has",
    ),
    setting(
        About::Memory,
        "memory_fraction",
        Kind::Share,
        "0.8",
        "Let models take this share of the machine's or the cgroup's memory",
    ),
    model(
        "workers",
        Kind::Number(1, MOST),
        "",
        "Serve it with exactly so many workers; else as many as work asks for",
    ),
    model("min_workers", Kind::Number(0, MOST), "", "Keep so many workers when idle; else none"),
    model(
        "max_workers",
        Kind::Number(1, MOST),
        "",
        "Have at most so many workers; else as many as the cores are for",
    ),
    model(
        "threads",
        Kind::Number(1, MOST),
        "",
        "Let each worker compute on so many threads; else the cores divided by the most workers",
    ),
    model(
        "dtype",
        Kind::Choice(&["auto", "f32", "bf16"]),
        "auto",
        "Keep weights in this, and multiply them in it",
    ),
    model(
        "quantize",
        Kind::Choice(&["none", "q8_0", "q4_k"]),
        "none",
        "Quantize the weights of a model that writes while they load",
    ),
    model(
        "kv_cache",
        Kind::Choice(&["auto", "f32", "f16"]),
        "auto",
        "Keep what a model that writes knows of texts under way in this",
    ),
    model(
        "cache_tokens",
        Kind::Number(1, 1 << 32),
        "",
        "Keep so many tokens of texts under way; else 8192, or what the model reads if less",
    ),
    model(
        "keep_alive",
        Kind::Time,
        MINUTES,
        "Unload a model that nobody has asked for so long; `forever` never does",
    ),
    model("queue", Kind::Number(0, 1 << 32), "1000", "Let so many requests wait; 0 is any number"),
    model("rate_limit", Kind::Rate, "", "Start at most so many requests a second; else any number"),
    model(
        "rate_burst",
        Kind::Number(1, 1 << 31),
        "",
        "Of a rate limit: start so many at once after a pause; else one",
    ),
    model("preload", Kind::Switch, "false", "Load it when the server starts, not with the first request"),
    model("pin", Kind::Switch, "false", "Never unload it, neither when idle nor to make room for others"),
];

const fn setting(
    about: About,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, kind, about, default, help }
}

const fn server(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    setting(About::Server, name, kind, default, help)
}

const fn model(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    setting(About::Model, name, kind, default, help)
}

impl Setting {
    /// As a flag, without the dashes before it.
    pub(in crate::cli) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// As a variable of the environment.
    pub(in crate::cli) fn variable(&self) -> String {
        format!("MILLPOND_{}", self.name.to_ascii_uppercase())
    }

    /// Whether nobody may be shown what it holds.
    pub(in crate::cli) fn is_secret(&self) -> bool {
        self.name == "api_key"
    }

    /// What holds where nobody says anything.
    pub(super) fn default_value(&self) -> Option<Value> {
        self.kind.of_text(self.default)
    }
}

/// The name that somebody who wrote `wrong` may have meant.
pub(super) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = wrong.to_lowercase().replace('-', "_");
    let far = |name: &&str| distance(&written, name);
    let nearest = names.into_iter().min_by_key(far)?;
    (far(&nearest) <= nearest.chars().count().div_ceil(3)).then_some(nearest)
}

/// How many letters have to be changed, put in, left out, or swapped with the next to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    // Rows of the distances between the beginnings of both: the one before the last, the last, and this one.
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut fewest = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                fewest = fewest.min(before[j - 2] + 1);
            }
            row.push(fewest);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::kernels::{Dtype, KvFormat};
    use crate::weights::gguf::Quantization;

    #[test]
    fn names_are_there_once_and_defaults_can_be_read() {
        let names: BTreeSet<_> = ALL.iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(!names.contains(SOURCE.name) && !names.contains(MODELS) && !names.contains("config"));
        for setting in ALL {
            assert!(
                setting.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{setting:?}"
            );
            assert_eq!(setting.default_value().is_some(), !setting.default.is_empty(), "{setting:?}");
        }
    }

    #[test]
    fn choices_are_what_the_library_has() {
        let choices = |name: &str| match ALL.iter().find(|setting| setting.name == name).unwrap().kind {
            Kind::Choice(names) => names.to_vec(),
            _ => panic!("{name} is a choice"),
        };
        assert_eq!(choices("dtype"), Dtype::ALL.map(|(name, _)| name));
        assert_eq!(choices("quantize")[1..], Quantization::ALL.map(|(name, _)| name));
        assert_eq!(choices("kv_cache")[1..], KvFormat::ALL.map(|(name, _)| name));
    }

    #[test]
    fn slips_are_understood() {
        let names = || ALL.iter().map(|setting| setting.name);
        for (wrong, meant) in [
            ("prot", "port"),
            ("keepalive", "keep_alive"),
            ("keep-alive", "keep_alive"),
            ("api_keys", "api_key"),
            ("KV_CACHE", "kv_cache"),
            ("worker", "workers"),
            ("max_conections", "max_connections"),
        ] {
            assert_eq!(nearest(wrong, names()), Some(meant), "{wrong}");
        }
        for nothing in ["", "zzzzzzzz", "colour"] {
            assert_eq!(nearest(nothing, names()), None, "{nothing}");
        }
        assert_eq!((distance("abc", "abc"), distance("abc", ""), distance("ab", "ba")), (0, 3, 1));
    }
}
