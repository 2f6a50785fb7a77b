//! Standard output, for results and nothing else; and standard error.

use std::fmt;
use std::io::{BufWriter, ErrorKind, IsTerminal, StdoutLock, Write, stderr, stdout};

use serde::Serialize;

use super::failure::Failure;

/// How many characters a line of the terminal has.
pub(super) const WIDTH: usize = 80;

/// Buffered; what is not flushed when it goes may be lost.
pub(super) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(super) fn stdout() -> Self {
        Self(BufWriter::new(stdout().lock()))
    }

    pub(super) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(failed)
    }

    /// A part of a line, or of several.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.0.write_all(text.as_bytes()).map_err(failed)
    }

    /// A vector's numbers on one line.
    pub(super) fn numbers(&mut self, numbers: &[f32]) -> Result<(), Failure> {
        self.line(numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(" "))
    }

    /// One object on one line.
    pub(super) fn json(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.0, object).map_err(|error| failed(error.into()))?;
        writeln!(self.0).map_err(failed)
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(failed)
    }
}

fn failed(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Output(error),
    }
}

/// Whether what is written there may be in colour: to a terminal, unless the user wants none.
pub(super) fn in_color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Says it on standard error. If nobody reads that, there is nobody left to tell.
pub(super) fn complain(line: impl fmt::Display) {
    let _ = writeln!(stderr(), "{line}");
}

/// Says on standard error that it is the user's turn.
pub(super) fn prompt(sign: &str) {
    let _ = write!(stderr(), "{sign}").and_then(|()| stderr().flush());
}

/// Something went otherwise than the user may think.
pub(super) fn warn(what: impl fmt::Display) {
    complain(format_args!("warning: {what}"));
}

/// "1 worker", "2 workers".
pub(super) fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
