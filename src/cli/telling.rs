//! An answer on standard output, as it comes.

use super::failure::Failure;
use super::output::Output;

/// Prints one answer after the other, and knows what it has printed of the one under way.
pub(super) struct Telling {
    pub(super) output: Output,
    told: Told,
}

impl Telling {
    pub(super) fn to_stdout() -> Self {
        Self { output: Output::stdout(), told: Told::default() }
    }

    /// Whether anything of the answer under way is printed.
    pub(super) fn has_begun(&self) -> bool {
        !self.told.0.is_empty()
    }

    /// Prints a part of the answer at once.
    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        self.output.text(self.told.part(text))?;
        self.output.flush()
    }

    /// Prints what `answer`, the whole of it, has beyond what came before.
    pub(super) fn complete(&mut self, answer: &str) -> Result<(), Failure> {
        self.write(self.told.rest(answer))
    }

    /// Ends the answer with its line, and returns what was printed of it.
    pub(super) fn end(&mut self) -> Result<String, Failure> {
        self.output.line("")?;
        self.output.flush()?;
        Ok(std::mem::take(&mut self.told).0)
    }
}

/// The parts of an answer that have come.
#[derive(Default)]
pub(super) struct Told(String);

impl Told {
    /// The next part, which is given back to be shown.
    pub(super) fn part<'a>(&mut self, text: &'a str) -> &'a str {
        self.0.push_str(text);
        text
    }

    /// What `answer`, the whole of it, has beyond them: what was held back because it could have gone on.
    pub(super) fn rest<'a>(&self, answer: &'a str) -> &'a str {
        answer.strip_prefix(self.0.as_str()).unwrap_or_default()
    }
}
