//! The page: what is known of the server, drawn into whatever space there is.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, LineGauge, Paragraph, Row, Table, Widget};

use super::feed::{Frame, Happened};
use crate::cli::bench::milliseconds;
use crate::cli::events::in_words;
use crate::cli::status::{clipped, is_active, spoken};
use crate::pool::{KeyStatus, PoolStatus, WorkerState};

/// How many events are kept.
const KEPT: usize = 200;

/// How many of those who hold memory are named.
const NAMED: usize = 4;

/// What is known of a server.
pub(super) struct View {
    url: String,
    frame: Option<Frame>,
    events: VecDeque<Happened>,
}

impl View {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), frame: None, events: VecDeque::new() }
    }

    /// What the server says now.
    pub(super) fn take(&mut self, frame: Frame) {
        self.events.extend(frame.events());
        self.events.drain(..self.events.len().saturating_sub(KEPT));
        self.frame = Some(frame);
    }

    pub(super) fn draw(&self, area: Rect, page: &mut Buffer) {
        let Some(frame) = &self.frame else {
            Paragraph::new(format!("waiting for {} ...", self.url)).render(area, page);
            return;
        };
        let rows = rows(frame).len() as u16;
        let parts =
            [Constraint::Length(1), Constraint::Length(2), Constraint::Length(rows + 3), Constraint::Min(3)];
        let [title, memory, models, events] = Layout::vertical(parts).areas(area);
        self.title(frame).render(title, page);
        draw_memory(frame, memory, page);
        draw_models(frame, models, page);
        self.draw_events(frame.at, events, page);
    }

    fn title(&self, frame: &Frame) -> Line<'static> {
        let status = &frame.status;
        let total = |of: fn(&super::feed::Rate) -> f64| frame.rates.iter().map(of).sum::<f64>();
        let requests = total(|rate| rate.requests_per_second);
        let tokens = total(|rate| rate.tokens_per_second);
        let told = format!(
            " {}, up for {}{}: {requests:.1} requests/s, {tokens:.0} tokens/s, {} under way; q ends",
            self.url,
            spoken(status.uptime),
            if status.draining { ", stopping" } else { "" },
            status.requests.len(),
        );
        let name = Span::styled(format!("millpond {}", clipped(&status.version, 16)), bold());
        Line::from(vec![name, Span::raw(told)])
    }

    /// The newest first, as many as there is room for.
    fn draw_events(&self, now: u64, area: Rect, page: &mut Buffer) {
        let lines = self.events.iter().rev().take(area.height.into()).map(|happened| {
            let ago = spoken(Duration::from_millis(now.saturating_sub(happened.at)));
            let often =
                if happened.times > 1 { format!(" ({} times)", happened.times) } else { String::new() };
            let (key, what) = (clipped(happened.key.as_str(), 24), in_words(&happened.what));
            let text = format!("{ago:>12} ago  {key} ({}): {what}{often}", happened.capability);
            Line::from(clipped(&text, area.width.into()))
        });
        let lines: Vec<_> = lines.collect();
        let empty = [Line::from("nothing yet: the first request loads a model")];
        let lines = if lines.is_empty() { empty.to_vec() } else { lines };
        let block = Block::default().borders(Borders::TOP).title("what happened");
        Paragraph::new(lines).block(block).render(area, page);
    }
}

fn bold() -> Style {
    Style::default().add_modifier(Modifier::BOLD)
}

fn draw_memory(frame: &Frame, area: Rect, page: &mut Buffer) {
    let memory = &frame.status.engine.memory;
    let share = memory.reserved.bytes() as f64 / memory.limit.bytes().max(1) as f64;
    let full = if share > 0.9 { Color::Red } else { Color::Green };
    let [bar, holders] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    LineGauge::default()
        .filled_style(Style::default().fg(full))
        .label(format!("memory {} of {}", memory.reserved, memory.limit))
        .ratio(share.clamp(0.0, 1.0))
        .render(bar, page);
    let mut largest: Vec<_> = memory.holders.iter().collect();
    largest.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
    let named =
        largest.iter().take(NAMED).map(|holder| format!("{} {}", clipped(&holder.label, 40), holder.bytes));
    let others = largest.len().saturating_sub(NAMED);
    let more = (others > 0).then(|| format!("{others} more"));
    Line::from(named.chain(more).collect::<Vec<_>>().join(", ")).render(holders, page);
}

/// Models with workers or work; the others are counted.
fn rows(frame: &Frame) -> Vec<(&PoolStatus, &KeyStatus)> {
    frame.status.keys().filter(|(_, key)| is_active(key)).collect()
}

fn draw_models(frame: &Frame, area: Rect, page: &mut Buffer) {
    let shown = rows(frame);
    let others = frame.status.keys().count() - shown.len();
    let titles =
        ["model", "capability", "workers", "queue", "req/s", "tok/s", "p50 ms", "p99 ms", "memory", "served"];
    let rows = shown.iter().map(|(pool, key)| {
        let rate = frame.rate(&pool.name, &key.key);
        let per_second = |of: Option<f64>| of.map_or_else(String::new, |rate| format!("{rate:.1}"));
        let quantile = |q| format!("{:.0}", milliseconds(key.run_time.quantile(q)));
        Row::new([
            Line::from(clipped(key.key.as_str(), 24)),
            Line::from(pool.name.clone()),
            Line::from(key.workers.iter().map(|worker| sign(worker.state)).collect::<Vec<_>>()),
            Line::from(key.queue_used.to_string()),
            Line::from(per_second(rate.map(|rate| rate.requests_per_second))),
            Line::from(per_second(rate.map(|rate| rate.tokens_per_second))),
            Line::from(quantile(0.5)),
            Line::from(quantile(0.99)),
            Line::from(key.memory.to_string()),
            Line::from(key.completed.to_string()),
        ])
    });
    let widths = [24, 15, 8, 6, 8, 8, 8, 8, 10, 8].map(Constraint::Length);
    let known = match (shown.len(), others) {
        (0, 0) => "no model is known".to_owned(),
        (_, 0) => "models (workers: L loads, r is ready, B is busy, d drains, F has failed)".to_owned(),
        (_, others) => format!("models ({others} more are known and not loaded)"),
    };
    let block = Block::default().borders(Borders::TOP).title(known);
    let table = Table::new(rows, widths).header(Row::new(titles).style(bold())).block(block);
    Widget::render(table, area, page);
}

/// What a worker is doing, as one letter.
fn sign(state: WorkerState) -> Span<'static> {
    let (letter, color) = match state {
        WorkerState::Loading => ("L", Color::Blue),
        WorkerState::Ready => ("r", Color::Green),
        WorkerState::Busy => ("B", Color::Yellow),
        WorkerState::Draining => ("d", Color::Magenta),
        WorkerState::Stopped => ("-", Color::DarkGray),
        WorkerState::Failed => ("F", Color::Red),
    };
    Span::styled(letter, Style::default().fg(color))
}
