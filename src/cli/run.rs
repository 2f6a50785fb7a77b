//! `millpond run`: a conversation at the terminal.

use std::io::{IsTerminal, stdin};

use clap::Args;
use crossbeam_channel::{Receiver, select};

use super::answer_args::{AnswerArgs, TemplateArg, template_arg};
use super::failure::Failure;
use super::follow::follow;
use super::interrupt::Interrupt;
use super::lines::read_stdin;
use super::model::ModelArgs;
use super::output::{Output, complain, prompt};
use super::writer::Writer;
use crate::capability::{Chat, GenerateRequest, Message, Prompt};

/// Talk with a model
///
/// Each line is a question; the model knows what was said before. Answers go to standard output as they come.
/// Ctrl-C during an answer stops it, and what there is of it stays in the conversation; at the prompt it ends
/// the program, as Ctrl-D and /bye do. Where standard input is no terminal, each of its lines is a question.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond run -m Qwen/Qwen3-0.6B
  millpond run -m ./model.gguf --system \"You are a miller.\" --temperature 0.7
  printf '%s\\n' \"What is a weir?\" \"And a leat?\" | millpond run -m ./my-model

At the prompt: /clear forgets the conversation, /help lists this, /bye ends. A model without a chat template
continues each line on its own.")]
pub(super) struct Run {
    #[command(flatten)]
    model: ModelArgs,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tell the chat template this too, such as `enable_thinking=false`; may be given several times.
    #[arg(long = "template-arg", value_name = "NAME=JSON", value_parser = template_arg)]
    template_args: Vec<TemplateArg>,
    #[command(flatten)]
    answer: AnswerArgs,
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
        let lines = read_stdin()?;
        interrupt.orderly();
        let mut talk = Talk {
            verb: self,
            writer,
            interrupt,
            output: Output::stdout(),
            said: Vec::new(),
            at_terminal: stdin().is_terminal(),
        };
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
        let asks_for_chat = self.system.is_some() || !self.template_args.is_empty();
        let prompt = if writer.has_chat_template() || asks_for_chat {
            let system = self.system.iter().map(Message::system);
            let mut chat = Chat::new(system.chain(said.iter().cloned()).collect());
            chat.template_args.extend(self.template_args.iter().cloned());
            Prompt::Chat(chat)
        } else {
            Prompt::Raw(said.last().map(|message| message.content.clone()).unwrap_or_default())
        };
        let request = self.answer.apply(GenerateRequest::new(prompt), writer.context())?;
        request.validate()?;
        Ok(request)
    }
}

/// A conversation under way.
struct Talk<'a> {
    verb: &'a Run,
    writer: Writer<'a>,
    interrupt: Interrupt,
    output: Output,
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
        let mut written = String::new();
        let answered = self.answer(&mut written);
        if !written.is_empty() || answered.is_ok() {
            self.output.line("")?;
        }
        self.output.flush()?;
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

    /// Prints the answer as it comes and keeps in `written` what came of it.
    fn answer(&mut self, written: &mut String) -> Result<(), Failure> {
        let request = self.verb.request(&self.writer, &self.said)?;
        let ticket = self.writer.submit(request)?;
        let output = &mut self.output;
        let mut write = |text: &str| {
            written.push_str(text);
            output.text(text)?;
            output.flush()
        };
        match follow(ticket, &self.interrupt, |token| write(&token.text))? {
            Some(answer) => {
                let text = answer.choices.into_iter().next().map(|choice| choice.text).unwrap_or_default();
                let rest = text.strip_prefix(written.as_str()).unwrap_or_default().to_owned();
                written.push_str(&rest);
                self.output.text(&rest)
            }
            None => {
                self.interrupt.orderly();
                Ok(())
            }
        }
    }
}
