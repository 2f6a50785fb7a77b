//! Holds the code to its layers, its sizes and its names (`src/README.md`). Each rule is a function over the
//! text of one file, and beside each stands a snippet that breaks it: a rule that cannot go red guards
//! nothing.

#[path = "tidy/source.rs"]
mod source;

#[path = "tidy/layers.rs"]
mod layers;

#[path = "tidy/names.rs"]
mod names;

#[path = "tidy/orphans.rs"]
mod orphans;

#[path = "tidy/sizes.rs"]
mod sizes;

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// What is wrong, where, and what to do about it.
pub(crate) type Finding = (usize, String);

/// Every Rust file under these folders of the repository, in the order of their names.
fn read(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut sources = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(
                fs::read_dir(&path).expect("a readable folder").map(|entry| entry.expect("an entry").path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative =
                path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            sources.push(Source::new(relative, fs::read_to_string(&path).expect("a readable file")));
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Fails with every finding of `rule` in these folders, as `file:line: what to do`.
#[track_caller]
fn holds(folders: &[&str], rule: impl Fn(&Source) -> Vec<Finding>) {
    let sources = read(folders);
    assert!(sources.len() > 1, "found nothing to check in {folders:?}");
    let findings: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            rule(source).into_iter().map(|(line, what)| format!("{}:{line}: {what}", source.path))
        })
        .collect();
    assert!(findings.is_empty(), "{} findings\n{}", findings.len(), findings.join("\n"));
}

/// The lines on which `rule` finds fault with this text.
fn lines(rule: impl Fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).into_iter().map(|(line, _)| line).collect()
}
