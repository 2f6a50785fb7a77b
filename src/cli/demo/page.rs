//! What the demo writes on: standard output, 80 columns wide.

use std::fmt;
use std::io::{IsTerminal, stdout};

use super::painting::Shades;
use super::wrap::{Wrap, wrapped};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, WIDTH, in_color};
use crate::image::Picture;

/// What every line of an act begins with.
pub(super) const INDENT: &str = "   ";

/// Standard output, and what it can show.
pub(super) struct Page {
    output: Output,
    /// Whether what was written can be written over.
    terminal: bool,
    shades: Shades,
    /// How many lines the frame has that the next one is to replace.
    frame: usize,
    act: u32,
}

impl Page {
    pub(super) fn stdout() -> Self {
        let stdout = stdout();
        let shades = if in_color(&stdout) { Shades::Colors } else { Shades::Grays };
        Self { output: Output::stdout(), terminal: stdout.is_terminal(), shades, frame: 0, act: 0 }
    }

    /// A line, or several if it is long.
    pub(super) fn say(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        let text = line.to_string();
        let lines: Vec<_> = text.split('\n').map(wrapped).collect();
        self.output.line(lines.join("\n"))?;
        self.output.flush()
    }

    /// Begins an act that shows `model`.
    pub(super) fn act(&mut self, title: &str, model: &str) -> Result<(), Failure> {
        self.act += 1;
        let title = format!("{}. {title}", self.act);
        let room = WIDTH.saturating_sub(title.len());
        let line = format!("{title}{model:>room$}");
        self.say(format_args!("\n{}", line.trim_end()))
    }

    /// A text that comes in parts, which are given to the one that is called.
    pub(super) fn stream<T>(
        &mut self,
        tell: impl FnOnce(&mut dyn FnMut(&str) -> Result<(), Failure>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut wrap = Wrap::new(INDENT.len());
        let first = wrap.push(INDENT);
        self.output.text(&first)?;
        let told = tell(&mut |text| {
            self.output.text(&wrap.push(text))?;
            self.output.flush()
        })?;
        self.output.line(wrap.end())?;
        self.output.flush()?;
        Ok(told)
    }

    /// Whether [`frame`](Self::frame) shows each, and not only the last.
    pub(super) fn moves(&self) -> bool {
        self.terminal
    }

    /// A picture, and a line above it, in place of the frame before.
    pub(super) fn frame(&mut self, title: &str, picture: Option<&Picture>) -> Result<(), Failure> {
        if self.frame > 0 {
            self.output.text(&format!("\x1b[{}A\x1b[J", self.frame))?;
        }
        let painted = picture.map_or_else(Vec::new, |picture| self.shades.paint(picture));
        self.frame = 1 + painted.len();
        self.output.line(format_args!("{INDENT}{title}"))?;
        self.lines(&painted)
    }

    /// The last frame stays.
    pub(super) fn keep(&mut self) {
        self.frame = 0;
    }

    /// Pictures of one height beside each other.
    pub(super) fn row(&mut self, pictures: &[Picture]) -> Result<(), Failure> {
        let painted: Vec<_> = pictures.iter().map(|picture| self.shades.paint(picture)).collect();
        let height = painted.iter().map(Vec::len).min().unwrap_or(0);
        let line = |row: usize| painted.iter().map(|lines| lines[row].as_str()).collect::<Vec<_>>().join(" ");
        self.lines(&(0..height).map(line).collect::<Vec<_>>())
    }

    fn lines(&mut self, lines: &[String]) -> Result<(), Failure> {
        for line in lines {
            self.output.line(format_args!("{INDENT}{line}"))?;
        }
        self.output.flush()
    }
}
