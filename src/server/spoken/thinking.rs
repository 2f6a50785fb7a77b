//! What a model thinks before it speaks.

use super::{Said, held_back};

const OPENS: &str = "<think>";
const CLOSES: &str = "</think>";

/// Tells a thought that an answer begins with, between `<think>` and `</think>`, from the answer.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    state: State,
    held: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    /// It may begin with a thought.
    #[default]
    Start,
    /// In the thought, of which something was told or not.
    Thought { told: bool },
    /// Behind the thought, where blank space belongs to nobody.
    Behind,
    /// It speaks.
    Speech,
}

impl Thinking {
    /// What is known now that `piece` has come: thoughts go to `out`; speech is returned.
    pub(super) fn push(&mut self, piece: &str, out: &mut Vec<Said>) -> String {
        if self.state == State::Speech {
            return piece.to_owned();
        }
        self.held.push_str(piece);
        while let Some(next) = self.advance(out) {
            self.state = next;
        }
        if self.state == State::Speech { std::mem::take(&mut self.held) } else { String::new() }
    }

    /// What was held back when no more comes.
    pub(super) fn finish(&mut self, out: &mut Vec<Said>) -> String {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Start | State::Speech => held,
            State::Thought { told } => {
                let begin = if told { held.as_str() } else { held.trim_start() };
                Said::thought(begin.trim_end(), out);
                String::new()
            }
            State::Behind => String::new(),
        }
    }

    /// The next state, if it follows from what is held.
    fn advance(&mut self, out: &mut Vec<Said>) -> Option<State> {
        match self.state {
            State::Start => {
                let said = self.held.trim_start();
                if let Some(rest) = said.strip_prefix(OPENS) {
                    self.held = rest.to_owned();
                    return Some(State::Thought { told: false });
                }
                (!OPENS.starts_with(said)).then_some(State::Speech)
            }
            State::Thought { told } => self.think(told, out),
            State::Behind => {
                self.held = self.held.trim_start().to_owned();
                (!self.held.is_empty()).then_some(State::Speech)
            }
            State::Speech => None,
        }
    }

    fn think(&mut self, told: bool, out: &mut Vec<Said>) -> Option<State> {
        if !told {
            self.held = self.held.trim_start().to_owned();
        }
        if let Some((thought, rest)) = self.held.split_once(CLOSES) {
            Said::thought(thought.trim_end(), out);
            self.held = rest.to_owned();
            return Some(State::Behind);
        }
        let known = self.held.len() - held_back(&self.held, &[CLOSES]);
        if known == 0 {
            return None;
        }
        Said::thought(&self.held[..known], out);
        self.held.drain(..known);
        self.state = State::Thought { told: true };
        None
    }
}
