//! Names that say nothing, work left undone, and habits that make tests lie.

use super::source::{Source, words};
use super::{Finding, holds, lines};

const EVERYWHERE: &[&str] = &["src", "benches", "examples", "tests"];

/// No file and no module is called so.
const EMPTY_NAMES: &[&str] = &[
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "core",
    "types",
    "misc",
    "manager",
    "governor",
    "orchestrator",
    "unified",
    "context",
    "impl",
    "init",
    "inner",
    "internals",
    "stuff",
    "shared_types",
];

/// No type has this in its name.
const EMPTY_TYPES: &[&str] = &["Manager", "Helper", "Util", "Governor", "Orchestrator", "Unified", "Misc"];

/// Units belong into types: `Duration`, `ByteSize`.
const UNITS: &[&str] = &["_secs", "_ms", "_millis", "_kb", "_mb", "_gb"];

fn names(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut empty = |line, kind: &str, name: &str| {
        found.push((line, format!("the {kind} `{name}` does not say what it is: name it after its noun")));
    };
    for part in source.path.trim_end_matches(".rs").split('/').filter(|part| is_empty_name(part)) {
        empty(1, "path", part);
    }
    for module in source.modules().iter().filter(|module| is_empty_name(&module.name)) {
        empty(module.line, "module", &module.name);
    }
    for keyword in ["struct", "enum", "trait", "type", "union"] {
        for (at, name) in source.named_after(keyword) {
            if EMPTY_TYPES.iter().any(|part| name.contains(part)) || name == "Inner" {
                empty(source.line(at), "type", name);
            }
        }
    }
    found
}

fn is_empty_name(name: &str) -> bool {
    let versioned =
        name.rsplit_once("_v").is_some_and(|(_, n)| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()));
    versioned || EMPTY_NAMES.contains(&name)
}

fn units(source: &Source) -> Vec<Finding> {
    let is_number = |kind: &str| matches!(kind, "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64");
    let pairs: Vec<_> = source.words().collect();
    let fields = pairs.windows(2).filter(|pair| {
        let typed = source.code[pair[0].0 + pair[0].1.len()..pair[1].0] == *": ";
        typed && is_number(pair[1].1) && UNITS.iter().any(|unit| pair[0].1.ends_with(unit))
    });
    fields
        .map(|pair| (source.line(pair[0].0), format!("`{}`: use a `Duration` or a `ByteSize`", pair[0].1)))
        .collect()
}

fn unfinished(source: &Source) -> Vec<Finding> {
    let marks = ["TODO", "FIXME", "XXX", "HACK"];
    let macros = ["todo", "unimplemented", "dbg"];
    let marked = words(&source.comments).filter(|(_, word)| marks.contains(word));
    let called = source
        .words()
        .filter(|(at, word)| macros.contains(word) && source.code[at + word.len()..].starts_with('!'));
    let what = |(at, word)| {
        (source.line(at), format!("`{word}`: finish it, or write down elsewhere that it is not"))
    };
    marked.map(what).chain(called.map(what)).collect()
}

/// Outside tests an error is handled, or an `expect` says why it cannot happen.
fn unwraps(source: &Source) -> Vec<Finding> {
    let tests = source.test_lines();
    let found = source.code.match_indices(".unwrap()").map(|(at, _)| source.line(at));
    found
        .filter(|line| !source.is_test() && !tests.iter().any(|tests| tests.contains(line)))
        .map(|line| {
            (line, "`unwrap`: handle the error, or `expect` with the reason why it cannot happen".to_owned())
        })
        .collect()
}

/// Tests wait for what they wait for, and none is switched off in silence.
fn habits(source: &Source) -> Vec<Finding> {
    let tests = source.test_lines();
    let in_test = |line: usize| source.is_test() || tests.iter().any(|tests| tests.contains(&line));
    let sleeps = source.words().filter(|(at, word)| {
        let (before, after) = (&source.code[..*at], &source.code[at + word.len()..]);
        let called = after.starts_with('(') && !before.ends_with(['.', ' ']);
        *word == "sleep" && (called || before.ends_with("thread::"))
    });
    let sleeps = sleeps.map(|(at, _)| source.line(at)).filter(|line| in_test(*line));
    let ignored = source.code.match_indices("#[ignore]").map(|(at, _)| source.line(at));
    let sleeps =
        sleeps.map(|line| (line, "a sleeping test is slow or wrong: wait at a gate, move the clock"));
    let ignored = ignored.map(|line| (line, "an ignored test says why: #[ignore = \"...\"]"));
    sleeps.chain(ignored).map(|(line, what)| (line, what.to_owned())).collect()
}

#[test]
fn names_say_what_things_are() {
    holds(EVERYWHERE, names);
    assert_eq!(lines(names, "src/pool/utils.rs", ""), [1]);
    assert_eq!(lines(names, "src/common/mod.rs", ""), [1]);
    assert_eq!(lines(names, "src/lane_v2.rs", "pub struct Lane;"), [1]);
    assert_eq!(
        lines(
            names,
            "src/a.rs",
            "\nmod helpers {}\nstruct PoolManager;\nstruct Managed;\n// struct Manager\n"
        ),
        [2, 3]
    );
}

#[test]
fn units_are_types() {
    holds(EVERYWHERE, units);
    assert_eq!(
        lines(units, "src/a.rs", "struct A {\n    timeout_secs: u64,\n    mb: Mb,\n    size_mb: usize,\n}"),
        [2, 4]
    );
}

#[test]
fn nothing_is_left_undone() {
    holds(EVERYWHERE, unfinished);
    let text = "// TODO: later\nfn a() {\n    todo!()\n}\nlet todo = \"TODO\";";
    assert_eq!(lines(unfinished, "src/a.rs", text), [1, 3]);
}

#[test]
fn errors_are_handled() {
    holds(&["src"], unwraps);
    let text = "/// a.unwrap();\nfn a() {\n    b.unwrap();\n}\n#[cfg(test)]\nmod tests {\n    fn a() { b.unwrap() }\n}";
    assert_eq!(lines(unwraps, "src/a.rs", text), [3]);
}

#[test]
fn tests_do_not_sleep_and_are_not_ignored_in_silence() {
    holds(EVERYWHERE, habits);
    let text =
        "fn a() {\n    std::thread::sleep(x);\n}\n#[ignore]\nfn b() {}\n#[ignore = \"why\"]\nfn c() {}";
    assert_eq!(lines(habits, "tests/a.rs", text), [2, 4]);
    assert_eq!(lines(habits, "src/a/proofs/b.rs", text), [2, 4]);
    assert_eq!(lines(habits, "src/a.rs", text), [4]);
    let inline =
        "#[cfg(test)]\nmod tests {\n    use std::thread::sleep;\n    fn sleep(x: u8) { bed.sleep(x) }\n}";
    assert_eq!(lines(habits, "src/a.rs", inline), [3]);
}
