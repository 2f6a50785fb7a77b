//! Running one test in a process of its own, with limits: what would take all memory, all time or a stack ends
//! that process and not the tests.

use std::process::{Command, Output};

/// The environment's variable that says what the lone test has to try.
const WHAT: &str = "MILLPOND_LONE_TEST";

/// What this process was started to try, if it was.
pub(super) fn to_try() -> Option<String> {
    std::env::var(WHAT).ok()
}

/// Runs the test called `name` alone, for [`to_try`] to be `what`. It has a minute of processor time and
/// `addresses` KB of addresses, which a process takes generously.
pub(super) fn run_alone(name: &str, what: &str, addresses: u64) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {addresses} && ulimit -t 60 && exec \"$0\" \"$@\"")]);
    shell.arg(std::env::current_exe().expect("this test's own file")).args([
        "--exact",
        name,
        "--nocapture",
        "--test-threads=1",
    ]);
    shell.env(WHAT, what).output().expect("a shell starts")
}

/// The most memory that this process has had so far, in KB.
pub(super) fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    peak.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}
