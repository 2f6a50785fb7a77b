//! Ctrl-C and closed pipes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use crate::support::{MODEL, Started, command, interrupt, read_until};

#[test]
fn ctrl_c_ends_embedding_with_130_after_what_was_printed() {
    let mut child = command(["embed", "-m", MODEL, "--json", "-"]);
    let mut child = Started(child.stdin(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    stdin.write_all(b"a red circle\n").unwrap();
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"index\":0,"), "{first}");
    // Its input is open and would give more: only the signal can end it.
    interrupt(&child);
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    let (mut rest, mut stderr) = (String::new(), String::new());
    stdout.read_to_string(&mut rest).unwrap();
    child.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((rest.as_str(), stderr.as_str()), ("", "error: interrupted\n"));
}

#[test]
fn ctrl_c_ends_a_bench_with_130() {
    let args = ["-v", "bench", "embed", "-m", MODEL, "--requests", "1000000000", "--json"];
    let mut child = Started(command(args).spawn().unwrap());
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    read_until(&mut log, "Ready");
    interrupt(&child);
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(130), "{rest}");
    let mut stdout = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(stdout, "");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let mut child = command(["embed", "-m", MODEL, "-"]);
    let mut child = Started(child.stdin(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    stdin.write_all(b"a red circle\n").unwrap();
    let mut first = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    // The pipe is closed now. The command finds out when it writes, and then reads no more of us.
    while stdin.write_all(b"a blue square\n").is_ok() {}
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let mut stderr = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}
