//! Files that no `mod` declares: they look like code and are never compiled.

use std::collections::{BTreeMap, BTreeSet};

use super::read;
use super::source::Source;

/// The files that are reached from no crate root.
fn orphans(sources: &[Source]) -> Vec<String> {
    let by_path: BTreeMap<&str, &Source> =
        sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<String> =
        by_path.keys().filter(|path| is_root(path)).map(ToString::to_string).collect();
    while let Some(path) = open.pop() {
        let Some(source) = by_path.get(path.as_str()).filter(|_| reached.insert(path.clone())) else {
            continue;
        };
        for module in source.modules().into_iter().filter(|module| module.body.is_none()) {
            open.extend(candidates(&path, &module.name, module.path.as_deref()));
        }
    }
    by_path.keys().filter(|path| !reached.contains(**path)).map(ToString::to_string).collect()
}

fn is_root(path: &str) -> bool {
    let folders = path.matches('/').count();
    match path.split('/').next() {
        Some("src") => matches!(path, "src/lib.rs" | "src/main.rs"),
        _ => folders == 1 || (folders == 2 && path.ends_with("/main.rs")),
    }
}

/// Where the module `name` of the file at `path` may be.
fn candidates(path: &str, name: &str, explicit: Option<&str>) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some(explicit) = explicit {
        return vec![normal(&format!("{folder}/{explicit}"))];
    }
    let owns_folder = file == "mod.rs" || file == "lib.rs" || file == "main.rs" || is_root(path);
    let folder = if owns_folder { folder } else { path.trim_end_matches(".rs") };
    vec![format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]
}

/// Without `..`.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[test]
fn every_file_is_part_of_a_crate() {
    let found = orphans(&read(&["src", "benches", "examples", "tests"]));
    assert!(found.is_empty(), "no `mod` leads to these: declare or delete them\n{}", found.join("\n"));
}

#[test]
fn a_file_that_no_module_declares_is_found() {
    let sources = [
        Source::new("src/lib.rs", "mod a;\n// mod lost;\n"),
        Source::new("src/a/mod.rs", "mod b;\n#[path = \"c_proofs.rs\"]\nmod proofs;\n"),
        Source::new("src/a/b.rs", "mod d;"),
        Source::new("src/a/b/d.rs", ""),
        Source::new("src/a/c_proofs.rs", ""),
        Source::new("src/a/lost.rs", ""),
        Source::new("src/lost.rs", "mod lost_too;"),
        Source::new("src/lost_too.rs", ""),
        Source::new("tests/t/main.rs", "#[path = \"../s/mod.rs\"]\nmod s;\nmod e;"),
        Source::new("tests/t/e.rs", ""),
        Source::new("tests/t/lost.rs", ""),
        Source::new("tests/s/mod.rs", ""),
    ];
    assert_eq!(orphans(&sources), ["src/a/lost.rs", "src/lost.rs", "src/lost_too.rs", "tests/t/lost.rs"]);
}
