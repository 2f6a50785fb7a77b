//! Who may name whom, in this crate and outside it.

use std::collections::BTreeMap;

use super::source::{Source, words};
use super::{Finding, holds, lines, read};

/// Each part of the crate and the parts that it may name: `src/README.md`'s map, line by line.
const LAYERS: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("clock", &[]),
    ("contain", &[]),
    ("sync", &[]),
    ("capability", &["id", "clock"]),
    ("memory", &["id", "contain", "sync"]),
    ("metrics", &["clock"]),
    ("pool", &["capability", "memory", "metrics", "id", "clock", "contain", "sync"]),
    ("kernels", &[]),
    ("weights", &["id", "contain"]),
    ("text", &["capability", "contain"]),
    ("image", &["capability", "contain"]),
    ("arch", &["kernels", "weights", "text", "image", "capability", "memory", "id"]),
    ("catalog", &["weights", "capability", "id"]),
    ("error", &["catalog", "arch", "pool", "weights"]),
    ("engine", &["error", "arch", "pool", "kernels", "weights", "capability", "memory", "id", "clock"]),
    (
        "server",
        &[
            "engine",
            "error",
            "catalog",
            "image",
            "pool",
            "kernels",
            "weights",
            "capability",
            "memory",
            "metrics",
            "id",
            "clock",
            "contain",
        ],
    ),
    (
        "cli",
        &[
            "server",
            "engine",
            "error",
            "catalog",
            "image",
            "arch",
            "pool",
            "kernels",
            "weights",
            "capability",
            "memory",
            "metrics",
            "id",
            "clock",
        ],
    ),
    ("lib", &["engine", "error", "kernels", "id", "clock"]),
    // `main` sets the kernels' threads up before anything runs.
    ("main", &["cli", "kernels"]),
];

/// Crates that belong to some places only.
const CRATES: &[(&str, &[&str])] = &[
    ("candle_core", &["src/arch/", "src/kernels/", "src/weights/"]),
    ("candle_nn", &["src/arch/", "src/kernels/"]),
    ("candle_transformers", &["src/arch/"]),
    ("rayon", &["src/arch/", "src/kernels/"]),
    ("gemm", &["src/kernels/"]),
    ("image", &["src/image/"]),
    ("base64", &["src/image/", "src/server/", "src/cli/bench/"]),
    ("half", &["src/kernels/", "src/weights/gguf/"]),
    ("llguidance", &["src/text/"]),
    ("minijinja", &["src/text/"]),
    ("minijinja_contrib", &["src/text/"]),
    ("tokenizers", &["src/text/", "src/weights/gguf/"]),
    ("safetensors", &["src/weights/", "src/cli/"]),
    ("serde_json", &["src/arch/", "src/capability/", "src/text/", "src/weights/", "src/server/", "src/cli/"]),
    ("toml", &["src/catalog/", "src/cli/settings/"]),
    ("hf_hub", &["src/weights/hub/"]),
    ("sha2", &["src/weights/", "src/image/", "src/server/"]),
    ("ureq", &["src/weights/hub/", "src/server/", "src/cli/"]),
    ("clap", &["src/cli/", "src/main.rs"]),
    ("clap_complete", &["src/cli/"]),
    ("ratatui", &["src/cli/"]),
    ("ctrlc", &["src/cli/", "src/main.rs"]),
    ("indicatif", &["src/cli/"]),
    ("tracing_subscriber", &["src/cli/", "src/main.rs"]),
    ("axum", &["src/server/"]),
    ("bytes", &["src/server/"]),
    ("futures_util", &["src/server/"]),
    ("http_body_util", &["src/server/"]),
    ("hyper", &["src/server/"]),
    ("hyper_util", &["src/server/"]),
    ("prometheus_client", &["src/server/"]),
    ("serde_path_to_error", &["src/server/"]),
    ("subtle", &["src/server/"]),
    ("tokio", &["src/server/"]),
    ("tower", &["src/server/"]),
    ("tower_http", &["src/server/"]),
    ("governor", &["src/pool/rate_limit.rs"]),
    ("dashmap", &["src/pool/"]),
    (
        "crossbeam_channel",
        &["src/pool/", "src/memory/", "src/clock.rs", "src/sync.rs", "src/server/feed/", "src/cli/"],
    ),
    ("sysinfo", &["src/memory/probe.rs"]),
    ("loom", &["src/sync.rs"]),
];

/// Things that are done in few places, and why.
const PLACES: &[(&str, &[&str], &str)] = &[
    ("unsafe", &["src/kernels/"], "the rest of the crate needs none"),
    (
        "thread::Builder",
        &["src/pool/thread.rs", "src/pool/builder.rs", "src/pool/shutdown.rs", "src/cli/"],
        "threads start where their end is seen to",
    ),
    ("thread::spawn", &["src/cli/"], "threads start where their end is seen to"),
    (
        "static",
        &["src/kernels/cpu.rs", "src/kernels/linear/tiles.rs", "src/kernels/threads.rs", "src/main.rs"],
        "there is no process-wide state",
    ),
    ("set_var", &["src/kernels/threads.rs"], "the environment belongs to the process"),
    ("process::exit", &["src/main.rs", "src/cli/"], "a library does not end the process"),
    ("println", &["src/main.rs", "src/cli/"], "a library does not print: use `tracing`"),
    ("eprintln", &["src/main.rs", "src/cli/"], "a library does not print: use `tracing`"),
];

/// The part of the crate that a file belongs to.
fn part(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap_or(path);
    below.split(['/', '.']).next().unwrap_or(below)
}

/// What `lib.rs` exports at the root, and from which part.
fn exports(lib: &Source) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for item in lib.code.split("pub use ").skip(1) {
        let mut names = words(item.split(';').next().unwrap_or_default()).map(|(_, name)| name);
        let part = names.next().unwrap_or_default();
        exports.extend(names.map(|name| (name.to_owned(), part.to_owned())));
    }
    exports
}

/// Every name that this file takes from the root of the crate, and where.
fn from_root(source: &Source) -> Vec<(usize, &str)> {
    let depth = source.path.matches('/').count() - usize::from(source.path.ends_with("/mod.rs"));
    let mut found = Vec::new();
    for (at, word) in source.words() {
        let rest = &source.code[at..];
        let path = match word {
            "crate" | "millpond" => rest.strip_prefix(word),
            // A chain of them, from its first, that climbs out of the file's own part.
            "super" if !source.code[..at].ends_with("super::") => {
                let climbed = rest.split("::").take_while(|step| *step == "super").count();
                let outside = climbed > 0 && climbed >= depth;
                outside.then(|| &rest["super::".len() * climbed - "::".len()..])
            }
            _ => None,
        };
        let Some(path) = path.and_then(|path| path.strip_prefix("::")) else { continue };
        let names = heads(path);
        found.extend(names.into_iter().map(|name| (source.line(at), name)));
    }
    found
}

/// The first names of a path, or of each path in a group.
fn heads(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else {
        return words(path).next().filter(|(at, _)| *at == 0).map(|(_, name)| name).into_iter().collect();
    };
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.extend(words(&group[start..at]).next().map(|(_, name)| name));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

fn layers(source: &Source, exports: &BTreeMap<String, String>) -> Vec<Finding> {
    let own = part(&source.path);
    let Some((_, allowed)) = LAYERS.iter().find(|(part, _)| *part == own) else {
        return vec![(1, format!("`{own}` has no layer: give it one in src/README.md and in LAYERS"))];
    };
    let named = from_root(source).into_iter().filter_map(|(line, name)| {
        let of = exports.get(name).map_or(name, String::as_str);
        LAYERS.iter().any(|(part, _)| *part == of).then_some((line, of))
    });
    named
        .filter(|(_, of)| *of != own && !allowed.contains(of))
        .map(|(line, of)| (line, format!("`{own}` must not know of `{of}`: move what is shared below both")))
        .collect()
}

/// Whether this line need not keep out of `places`: it is in one of them, or in a test.
fn is_exempt(source: &Source, line: usize, places: &[&str]) -> bool {
    places.iter().any(|place| source.path.starts_with(place))
        || source.is_test()
        || source.test_lines().iter().any(|tests| tests.contains(&line))
}

fn crates(source: &Source) -> Vec<Finding> {
    let is_path = |at: usize, name: &str| {
        let (before, after) = (&source.code[..at], &source.code[at + name.len()..]);
        !before.ends_with("::") && (after.starts_with("::") || before.ends_with("use "))
    };
    let misplaced = source.words().filter_map(|(at, word)| {
        let (name, places) = CRATES.iter().find(|(name, _)| *name == word)?;
        // A module of our own may have a crate's name.
        let own = || source.modules().iter().any(|module| module.name == *name);
        let line = source.line(at);
        let stray = is_path(at, word) && !is_exempt(source, line, places) && !own();
        stray.then(|| (line, format!("`{name}` belongs to {}", places.join(", "))))
    });
    misplaced.collect()
}

fn places(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (what, places, why) in PLACES {
        let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '\'');
        let uses = source.code.match_indices(what).filter(|(at, _)| {
            let (before, after) = (&source.code[..*at], &source.code[at + what.len()..]);
            !before.ends_with(in_word) && !after.starts_with(in_word)
        });
        let lines = uses.map(|(at, _)| source.line(at)).filter(|line| !is_exempt(source, *line, places));
        found.extend(lines.map(|line| (line, format!("`{what}` outside {}: {why}", places.join(", ")))));
    }
    found
}

fn lib() -> BTreeMap<String, String> {
    let lib =
        read(&["src"]).into_iter().find(|source| source.path == "src/lib.rs").expect("the crate's root");
    exports(&lib)
}

#[test]
fn arrows_point_down() {
    let lib = lib();
    assert_eq!(lib["JobId"], "id", "the root's exports are read");
    holds(&["src"], |source| layers(source, &lib));
}

#[test]
fn arrows_that_point_up_or_sideways_are_found() {
    let exports =
        exports(&Source::new("src/lib.rs", "pub use engine::{Engine, Status};\npub use id::JobId;"));
    let red = |path: &str, text: &str| lines(|source| layers(source, &exports), path, text);
    assert_eq!(red("src/pool/lane.rs", "use crate::id::A;\n// crate::arch\nuse crate::arch::B;"), [3]);
    assert_eq!(red("src/pool/lane.rs", "use crate::{clock::A, memory::{B, arch}, weights, id};"), [1]);
    assert_eq!(red("src/pool/lane.rs", "fn a(job: crate::JobId) -> crate::Status {}"), [1]);
    assert_eq!(red("src/pool/lane.rs", "use super::queue::A;\nuse super::super::engine::A;"), [2]);
    assert_eq!(red("src/pool/mod.rs", "use super::engine::A;"), [1]);
    assert_eq!(
        red("src/pool/supervisor/sweep.rs", "use super::super::arch;\nuse super::super::super::arch;"),
        [2]
    );
    assert_eq!(red("src/clock.rs", "\n\nuse super::pool::Pool;"), [3]);
    assert_eq!(red("src/arch/encoder/bert.rs", "crate::pool::Pool::new();"), [1]);
    assert_eq!(red("src/memory/budget.rs", "use crate::sync::Mutex;\nuse crate::pool::Pool;"), [2]);
    assert_eq!(red("src/newcomer/mod.rs", ""), [1]);
    assert_eq!(red("src/main.rs", "use millpond::cli::run;\nuse millpond::Engine;"), [2]);
}

#[test]
fn crates_are_named_where_they_belong() {
    holds(&["src"], crates);
    let red = |path: &str, text: &str| lines(crates, path, text);
    assert_eq!(
        red("src/pool/mod.rs", "use std::fmt;\nuse candle_core::Tensor;\nfn a() -> tokio::Handle {}"),
        [2, 3]
    );
    assert_eq!(red("src/weights/mod.rs", "use hf_hub::Cache;"), [1]);
    assert_eq!(
        red("src/arch/mod.rs", "use candle_core as candle;\nuse crate::weights::toml::x;\nlet toml = 1;"),
        [0; 0]
    );
    assert_eq!(red("src/pool/slot.rs", "use loom;"), [1]);
}

#[test]
fn some_things_are_done_in_few_places() {
    holds(&["src"], places);
    let red = |path: &str, text: &str| lines(places, path, text);
    assert_eq!(red("src/pool/lane.rs", "fn a(x: &'static str) {\n    unsafe { a() }\n}"), [2]);
    assert_eq!(red("src/engine/mod.rs", "static A: u8 = 1;\nprintln!();\n"), [1, 2]);
    assert_eq!(red("src/pool/lane.rs", "let x = std::thread::Builder::new();"), [1]);
    assert_eq!(
        red("src/kernels/mod.rs", "unsafe {}\n#[cfg(test)]\nmod tests {\n    static A: u8 = 1;\n}"),
        [0; 0]
    );
}
