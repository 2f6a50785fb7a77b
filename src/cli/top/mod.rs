//! `millpond top`: what a server is doing, second by second.

mod feed;
mod view;

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;

use super::client::{Client, ClientArgs};
use super::failure::Failure;
use super::output::Output;
use feed::{Frame, listen};
use view::View;

/// How long a key press may go unnoticed.
const GLANCE: Duration = Duration::from_millis(100);

/// A server that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// Of a page that is no terminal's.
const WIDTH: u16 = 110;
const HEIGHT: u16 = 40;

/// Watch a server at work
///
/// Shows, once a second, each model with its workers and what they are doing, what waits, how fast requests and
/// tokens go, how long answers take, what memory is held by whom, and what has happened and why. q ends it. Where
/// standard output is no terminal, each second's page is printed as text.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond top
  millpond top --url http://box:11435
  millpond top --once                        one page, as text")]
pub(super) struct Top {
    /// Print one page as text, and end.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    client: ClientArgs,
}

impl Top {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let client = self.client.client()?;
        let frames = listen(&client)?;
        let mut view = View::new(client.url());
        if self.once || !stdout().is_terminal() {
            return self.print(&client, &frames, &mut view);
        }
        let mut terminal = ratatui::try_init().map_err(Failure::Output)?;
        let ended = watch(&client, &frames, &mut view, &mut terminal);
        ratatui::restore();
        ended
    }

    fn print(
        &self,
        client: &Client,
        frames: &Receiver<Result<Frame, Failure>>,
        view: &mut View,
    ) -> Result<(), Failure> {
        loop {
            view.take(next(client, frames, SILENCE)?.ok_or_else(|| silent(client))?);
            let mut output = Output::stdout();
            text(view, WIDTH, HEIGHT).iter().try_for_each(|line| output.line(line))?;
            output.flush()?;
            if self.once {
                return Ok(());
            }
        }
    }
}

/// Until the user has seen enough, or the server is gone.
fn watch(
    client: &Client,
    frames: &Receiver<Result<Frame, Failure>>,
    view: &mut View,
    terminal: &mut DefaultTerminal,
) -> Result<(), Failure> {
    let mut heard = Instant::now();
    loop {
        match next(client, frames, Duration::ZERO)? {
            Some(frame) => {
                view.take(frame);
                heard = Instant::now();
            }
            None if heard.elapsed() >= SILENCE => return Err(silent(client)),
            None => {}
        }
        terminal.draw(|frame| view.draw(frame.area(), frame.buffer_mut())).map_err(Failure::Output)?;
        if event::poll(GLANCE).map_err(Failure::Input)? && ends(&event::read().map_err(Failure::Input)?) {
            return Ok(());
        }
    }
}

fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let quit = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || control_c;
    key.kind == KeyEventKind::Press && quit
}

/// The next frame, if it comes in time.
fn next(
    client: &Client,
    frames: &Receiver<Result<Frame, Failure>>,
    within: Duration,
) -> Result<Option<Frame>, Failure> {
    match frames.recv_timeout(within) {
        Ok(frame) => frame.map(Some),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => {
            Err(Failure::Unreachable { url: client.url().to_owned(), reason: "it has stopped".to_owned() })
        }
    }
}

fn silent(client: &Client) -> Failure {
    Failure::Unreachable { url: client.url().to_owned(), reason: "it says nothing any more".to_owned() }
}

/// The page as lines.
fn text(view: &View, width: u16, height: u16) -> Vec<String> {
    let area = Rect::new(0, 0, width, height);
    let mut page = Buffer::empty(area);
    view.draw(area, &mut page);
    let line = |row: u16| {
        let cells = (0..width).map(|column| page[(column, row)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    let mut lines: Vec<String> = (0..height).map(line).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn q_escape_and_control_c_end_it() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(ends(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(ends(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(ends(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!ends(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!ends(&Event::FocusLost));
    }

    #[test]
    fn a_page_says_what_there_is() {
        let mut view = View::new("http://127.0.0.1:1");
        view.take(feed::tests::frame());
        let page = text(&view, 100, 30);
        let page = page.join("\n");
        for part in
            ["http://127.0.0.1:1", "shapes-embed", "text-embedding", "1.0 KiB of 1.0 MiB", "worker-1 starts"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
        let small = text(&view, 20, 4);
        assert!(small.len() <= 4 && small.iter().all(|line| line.chars().count() <= 20), "{small:?}");
    }
}
