//! How long files and functions may be.

use super::source::Source;
use super::{Finding, holds, lines};

const FILE: usize = 400;
const FUNCTION: usize = 60;

/// Code and documentation together; modules that only tests see do not count.
fn files(source: &Source) -> Vec<Finding> {
    let tests: usize = source.test_lines().into_iter().map(Iterator::count).sum();
    let lines = source.text.lines().count() - tests;
    let what = format!("{lines} lines, and at most {FILE} are read with pleasure: split it by its nouns");
    if lines > FILE { vec![(1, what)] } else { Vec::new() }
}

fn functions(source: &Source) -> Vec<Finding> {
    let measured = source.functions().into_iter().map(|(name, lines)| (name, *lines.start(), lines.count()));
    let long = measured.filter(|(_, _, length)| *length > FUNCTION);
    long.map(|(name, line, length)| {
        (
            line,
            format!("`{name}` has {length} lines of at most {FUNCTION}: give its parts names of their own"),
        )
    })
    .collect()
}

#[test]
fn files_are_short() {
    holds(&["src", "benches", "examples"], files);
    let tests = "#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(lines(files, "src/a.rs", &("//\n".repeat(FILE - 1) + tests)), [0; 0]);
    assert_eq!(lines(files, "src/a.rs", &"//\n".repeat(FILE + 1)), [1]);
}

#[test]
fn functions_are_short() {
    holds(&["src", "benches", "examples"], functions);
    let function = |body: usize| format!("\nfn a() {{\n{}}}\n", "//\n".repeat(body));
    assert_eq!(lines(functions, "src/a.rs", &function(FUNCTION - 2)), [0; 0]);
    assert_eq!(lines(functions, "src/a.rs", &function(FUNCTION - 1)), [2]);
}
