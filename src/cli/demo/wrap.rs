//! Text broken between words, however it comes.

use crate::cli::output::WIDTH;

/// Where on a line a text has got to that comes in parts.
pub(super) struct Wrap {
    /// How many spaces a line begins with that is not the first.
    indent: usize,
    column: usize,
    /// Those before the word under way.
    spaces: usize,
    /// What may still go on.
    word: String,
}

impl Wrap {
    /// A text that begins in the first column, and whose other lines begin `indent` columns on.
    pub(super) fn new(indent: usize) -> Self {
        Self { indent, column: 0, spaces: 0, word: String::new() }
    }

    /// What can be printed now that `text` has come.
    pub(super) fn push(&mut self, text: &str) -> String {
        let mut ready = String::new();
        for c in text.chars() {
            if c == ' ' {
                self.place(&mut ready);
                self.spaces += 1;
            } else {
                self.word.push(c);
            }
        }
        ready
    }

    /// What is left to print when no more will come.
    pub(super) fn end(mut self) -> String {
        let mut rest = String::new();
        self.place(&mut rest);
        rest
    }

    fn place(&mut self, ready: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let width = self.word.chars().count();
        if self.column + self.spaces + width > WIDTH && self.column > 0 {
            ready.push('\n');
            (self.column, self.spaces) = (0, self.indent);
        }
        ready.push_str(&" ".repeat(self.spaces));
        ready.push_str(&self.word);
        self.column += self.spaces + width;
        self.spaces = 0;
        self.word.clear();
    }
}

/// The line, broken between words where it is wider than a terminal.
pub(super) fn wrapped(line: &str) -> String {
    let mut wrap = Wrap::new(line.len() - line.trim_start().len() + 2);
    let ready = wrap.push(line);
    ready + &wrap.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let text = wrapped(&format!("   {}", "word ".repeat(40).trim_end()));
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("     word")), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
        assert_eq!(wrapped("  a    table"), "  a    table");
        assert_eq!(wrapped(&"x".repeat(100)), "x".repeat(100), "a word is not broken");
    }

    #[test]
    fn a_text_in_parts_is_broken_as_a_whole_one() {
        let line = format!("   {}", "once there was a mill ".repeat(12).trim_end());
        for size in 1..9 {
            let characters: Vec<_> = line.chars().collect();
            let mut wrap = Wrap::new(5);
            let mut text: String =
                characters.chunks(size).map(|part| wrap.push(&part.iter().collect::<String>())).collect();
            text.push_str(&wrap.end());
            assert_eq!(text, wrapped(&line), "parts of {size}");
        }
    }
}
