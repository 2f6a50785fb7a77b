//! `millpond run`: a conversation at the terminal.

use std::io::{IsTerminal, stdin};

use clap::Args;
use crossbeam_channel::{Receiver, select};

use super::failure::Failure;
use super::follow::follow;
use super::interrupt::Interrupt;
use super::lines::read_stdin;
use super::model::ModelArgs;
use super::output::{complain, prompt};
use super::question_args::QuestionArgs;
use super::telling::Telling;
use super::writer::Writer;
use crate::capability::{GenerateRequest, Message};

/// Talk with a model
///
/// Each line is a question; the model knows what was said before. Answers go to standard output as they come.
/// Ctrl-C during an answer stops it, and what there is of it stays in the conversation; at the prompt it ends
/// the program, as Ctrl-D and /bye do. Where standard input is no terminal, each of its lines is a question. With a
/// question on the command line that one is answered, and nothing is read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond run -m Qwen/Qwen3-0.6B
  millpond run -m Qwen/Qwen3-0.6B \"Why is the sky blue?\"
  millpond run -m ./model.gguf --system \"You are a miller.\" --temperature 0.7
  printf '%s\\n' \"What is a weir?\" \"And a leat?\" | millpond run -m ./my-model

At the prompt: /clear forgets the conversation, /help lists this, /bye ends. A model without a chat \
template continues each line on its own.")]
pub(super) struct Run {
    #[command(flatten)]
    model: ModelArgs,
    /// One question, to be answered before it ends. Default: those that are typed.
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    #[command(flatten)]
    question: QuestionArgs,
}

const HELP: &str = "\
/clear  forget the conversation
/help   this
/bye    end, as Ctrl-D does
Ctrl-C stops an answer; at the prompt it ends the program";

impl Run {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        let writer = Writer::open(&self.model)?;
        // What cannot be asked at all is told before anyone types.
        self.request(&writer, &[Message::user("")])?;
        let at_terminal = self.prompt.is_none() && stdin().is_terminal();
        let (telling, said) = (Telling::to_stdout(), Vec::new());
        if let Some(prompt) = &self.prompt {
            interrupt.orderly();
            return Talk { verb: self, writer, interrupt, telling, said, at_terminal }.ask(prompt.clone());
        }
        let lines = read_stdin()?;
        interrupt.orderly();
        let mut talk = Talk { verb: self, writer, interrupt, telling, said, at_terminal };
        if talk.at_terminal {
            complain(format_args!("{}: /help says what else there is; Ctrl-D ends", self.model.model));
        }
        while let Some(line) = talk.next_line(&lines)? {
            match line.trim() {
                "" => {}
                "/bye" => break,
                "/clear" => talk.said.clear(),
                "/help" | "/?" => complain(HELP),
                _ => talk.ask(line)?,
            }
        }
        Ok(())
    }

    /// What asks for an answer to `said`, the last of it a question.
    fn request(&self, writer: &Writer, said: &[Message]) -> Result<GenerateRequest, Failure> {
        let prompt = self.question.prompt(said, writer.plan());
        let request = self.question.request(prompt, writer.plan())?;
        request.validate()?;
        Ok(request)
    }
}

/// A conversation under way.
struct Talk<'a> {
    verb: &'a Run,
    writer: Writer<'a>,
    interrupt: Interrupt,
    telling: Telling,
    /// Questions and answers by turns.
    said: Vec<Message>,
    at_terminal: bool,
}

impl Talk<'_> {
    /// What the user says next; `None` when that is all.
    fn next_line(&self, lines: &Receiver<Result<String, Failure>>) -> Result<Option<String>, Failure> {
        if self.at_terminal {
            prompt(">>> ");
        }
        select! {
            recv(lines) -> line => line.ok().transpose(),
            recv(self.interrupt.asked()) -> _ => Err(Failure::Interrupted),
        }
    }

    /// Has `question` answered. What concerns this question alone is told, and the conversation goes on as if
    /// it had not been asked.
    fn ask(&mut self, question: String) -> Result<(), Failure> {
        let before = self.said.len();
        self.said.push(Message::user(question));
        let answered = self.answer();
        let begun = self.telling.has_begun() || answered.is_ok();
        let written = if begun { self.telling.end()? } else { String::new() };
        match answered {
            Ok(()) if !written.is_empty() => self.said.push(Message::assistant(written)),
            Ok(()) => self.said.truncate(before),
            Err(failure) if self.at_terminal && failure.concerns_one_request() => {
                self.said.truncate(before);
                failure.complain();
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Prints the answer as it comes.
    fn answer(&mut self) -> Result<(), Failure> {
        let request = self.verb.request(&self.writer, &self.said)?;
        let ticket = self.writer.submit(request)?;
        let Some(answer) = follow(ticket, &self.interrupt, |token| self.telling.write(&token.text))? else {
            self.interrupt.orderly();
            // Of a single question nothing is left to go on with.
            return if self.verb.prompt.is_some() { Err(Failure::Interrupted) } else { Ok(()) };
        };
        answer.choices.first().map_or(Ok(()), |choice| self.telling.complete(&choice.text))
    }
}
