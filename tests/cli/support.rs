//! Running the binary, and knowing what it should say.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde::Deserialize;
use serde_json::Value;

pub(crate) const MODEL: &str = "models/tiny/shapes-embed";

/// The command, in the package's folder, on no network and with no settings of whoever runs the tests.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env("HF_HUB_OFFLINE", "1");
    for (variable, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MILLPOND_"))
    {
        command.env_remove(variable);
    }
    // No file of whoever runs the tests is read either.
    command.env("XDG_CONFIG_HOME", "/nowhere");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A run of the command that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is text"),
            stderr: String::from_utf8(output.stderr).expect("standard error is text"),
        }
    }
}

pub(crate) fn millpond<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    command(args).output().expect("the binary runs").into()
}

pub(crate) fn millpond_reading<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> Run {
    let mut child = command(args).stdin(Stdio::piped()).spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::thread::scope(|scope| {
        // What is not read is not wanted: the command may end before its input does.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("the binary ends").into()
    })
}

impl Run {
    /// It did what it was asked and had nothing to complain about.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self
    }

    /// Its output, one JSON object per line.
    pub(crate) fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        self.stdout.lines().map(parse).collect()
    }

    /// Its output, one embedding per line.
    pub(crate) fn embeddings(&self) -> Vec<Line> {
        self.json().into_iter().map(|line| serde_json::from_value(line).expect("as documented")).collect()
    }

    /// It failed: one line that says why with `reason` in it, one that says what to do, and no result.
    #[track_caller]
    pub(crate) fn failed(&self, reason: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert!(
            matches!(lines[..], [error, hint]
            if error.starts_with("error: ") && error.contains(reason) && hint.starts_with("hint: ")),
            "{self:?}"
        );
    }
}

/// What `embed --json` prints.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) index: usize,
    pub(crate) embedding: Vec<f32>,
    pub(crate) tokens: usize,
    #[serde(default)]
    pub(crate) truncated: bool,
}

/// One text with what the reference makes of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) text: String,
    pub(crate) prompt_name: Option<String>,
    pub(crate) tokens: usize,
    pub(crate) embedding: Vec<f32>,
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder").join(name)
}

pub(crate) fn cases(name: &str) -> Vec<Case> {
    let file = std::fs::read(fixture(&format!("{name}.json"))).expect("the fixture is there");
    serde_json::from_slice(&file).expect("the fixture is as make.py writes it")
}

pub(crate) fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[track_caller]
pub(crate) fn same(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    let apart = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart <= tolerance, "{apart} apart");
}

/// A child that does not outlive its test.
pub(crate) struct Started(pub(crate) Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ctrl-C.
pub(crate) fn interrupt(child: &Started) {
    let sent = Command::new("kill").args(["-INT", &child.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Reads a log up to a line that holds `word`.
pub(crate) fn read_until(log: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
}

/// `millpond serve` at a port of its own, until the test has ended.
pub(crate) struct Served {
    pub(crate) child: Started,
    pub(crate) url: String,
    /// Where it was said to be, word by word.
    pub(crate) line: String,
    /// Its log from then on.
    pub(crate) log: BufReader<ChildStderr>,
}

impl Served {
    /// Waits until it says where it is.
    pub(crate) fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut command = command(["serve", "--port", "0"]);
        let mut child = Started(command.args(args).spawn().expect("the binary runs"));
        let mut stdout = BufReader::new(child.0.stdout.take().expect("it is piped"));
        let log = BufReader::new(child.0.stderr.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.split(' ').find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("no address: {line:?}")).trim_end().to_owned();
        Self { child, url, line, log }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// The command, speaking to it.
    pub(crate) fn ask<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        command(args).env("MILLPOND_URL", &self.url).output().expect("the binary runs").into()
    }

    /// Reads the log up to a line with this word.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "it ended before {word:?}");
        }
        line
    }
}
