//! An answer on standard output, as it comes.

use super::failure::Failure;
use super::output::Output;

/// Prints one answer after the other, and knows what it has printed of the one under way.
pub(super) struct Telling {
    pub(super) output: Output,
    written: String,
}

impl Telling {
    pub(super) fn to_stdout() -> Self {
        Self { output: Output::stdout(), written: String::new() }
    }

    /// Whether anything of the answer under way is printed.
    pub(super) fn has_begun(&self) -> bool {
        !self.written.is_empty()
    }

    /// Prints a part of the answer at once.
    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        self.written.push_str(text);
        self.output.text(text)?;
        self.output.flush()
    }

    /// Prints what `answer`, the whole of it, has beyond what came before.
    pub(super) fn complete(&mut self, answer: &str) -> Result<(), Failure> {
        match answer.strip_prefix(self.written.as_str()) {
            Some(rest) => self.write(rest),
            None => Ok(()),
        }
    }

    /// Ends the answer with its line, and returns what was printed of it.
    pub(super) fn end(&mut self) -> Result<String, Failure> {
        self.output.line("")?;
        self.output.flush()?;
        Ok(std::mem::take(&mut self.written))
    }
}
