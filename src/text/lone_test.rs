//! Running one test in a process of its own, with limits: what would take all memory, all time or a stack ends
//! that process and not the tests.

use std::process::{Command, Output};

/// The environment's variable that says what the lone test has to try.
const WHAT: &str = "MILLPOND_LONE_TEST";

/// What this process was started to try, if it was.
pub(super) fn to_try() -> Option<String> {
    std::env::var(WHAT).ok()
}

/// Runs the test called `name` alone, for [`to_try`] to be `what`. It has a minute of processor time and so many
/// KB of addresses, which a process takes generously.
pub(super) fn run_alone(name: &str, what: &str, addresses_kb: u64) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {addresses_kb} && ulimit -t 60 && exec \"$0\" \"$@\"")]);
    shell.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    shell.env(WHAT, what).output().unwrap()
}

/// The most memory that this process has had so far, in KB.
pub(super) fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}
