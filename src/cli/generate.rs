//! `millpond generate`: a prompt in, its continuation out.

use std::path::PathBuf;

use clap::Args;

use super::answer_lines::AnswerLines;
use super::conversation::read_conversation;
use super::failure::Failure;
use super::files::prompt_argument;
use super::interrupt::Interrupt;
use super::model::ModelArgs;
use super::question_args::QuestionArgs;
use super::writer::Writer;
use crate::capability::{GenerateRequest, Message, Prompt};

/// Continue a text, or answer a question
///
/// The prompt goes through the model's own chat template where it has one, and to the tokenizer as it is where
/// it has none or with --raw. The answer is printed as it comes; several answers, when they are complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond generate -m Qwen/Qwen3-0.6B \"Why is the sky blue?\"
  millpond generate -m ./model.gguf --raw --max-tokens 20 \"Once upon a time\"
  millpond generate -m ./my-model --system \"Answer in one word.\" --temperature 0.7 - < question.txt
  millpond generate -m ./my-model --messages chat.json --template-arg enable_thinking=false --json

--json prints one object; with --n one for each answer, with its \"index\":
  {\"text\":..,\"token_ids\":[..],\"prompt_token_ids\":[..],\"prompt_tokens\":..,\"completion_tokens\":..,
   \"finish_reason\":\"stop|length\"}")]
pub(super) struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    /// What to answer or continue; or `-` for all of standard input, as it is.
    #[arg(value_name = "PROMPT", required_unless_present = "messages")]
    prompt: Option<String>,
    /// Continue the prompt as it is: no chat template.
    #[arg(long, conflicts_with_all = ["system", "messages", "template_args"])]
    raw: bool,
    /// Answer the conversation in this file: [{"role":"user","content":".."}, ..], as the API of chat
    /// completions takes it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "system"])]
    messages: Option<PathBuf>,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    lines: AnswerLines,
}

impl Generate {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        let prompt = self.prompt.as_deref().map(prompt_argument).transpose()?;
        let chat = self.messages.as_deref().map(read_conversation).transpose()?;
        let writer = Writer::open(&self.model)?;
        let prompt = match (prompt, chat) {
            (prompt, None) if self.raw => Prompt::Raw(prompt.unwrap_or_default()),
            (_, Some(chat)) => self.question.conversation(chat),
            (prompt, None) => {
                self.question.prompt(&[Message::user(prompt.unwrap_or_default())], writer.plan())
            }
        };
        let request = self.request(prompt, &writer)?;
        interrupt.orderly();
        let ticket = writer.submit(request)?;
        self.lines.tell(ticket, &interrupt)
    }

    fn request(&self, prompt: Prompt, writer: &Writer) -> Result<GenerateRequest, Failure> {
        let mut request = self.question.request(prompt, writer.plan())?;
        self.lines.apply(&mut request);
        request.validate()?;
        Ok(request)
    }
}
