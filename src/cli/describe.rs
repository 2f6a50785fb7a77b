//! `millpond describe`: pictures and a question in, an answer out.

use std::path::PathBuf;

use clap::Args;

use super::answer_lines::AnswerLines;
use super::conversation::read_shown;
use super::failure::Failure;
use super::files::prompt_argument;
use super::interrupt::Interrupt;
use super::model::ModelArgs;
use super::question_args::QuestionArgs;
use crate::arch::VisionPlan;
use crate::capability::{DescribeRequest, ImagePlaces, ImageSource, Message, Prompt};
use crate::engine::Capabilities;

/// Answer a question about pictures
///
/// Pictures are shown before the question, in the order of the files, through the model's own chat template. A
/// conversation of --messages says itself where each is. With --raw they come before the prompt, or where it has the
/// model's own placeholder. Files are PNG, JPEG, WebP or GIF, whatever their names say.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond describe -m llava-hf/llava-1.5-7b-hf --image photo.jpg \"What is this?\"
  millpond describe -m ./my-model --image before.png --image after.png \"What has changed?\"
  millpond describe -m ./my-model --messages chat.json --json
  millpond describe -m ./my-model --raw --image photo.jpg \"USER: <image>\\nWhat is this? ASSISTANT:\"

In --messages, {\"type\":\"image\"} is the next --image; {\"type\":\"image\",\"path\":\"photo.jpg\"} and
{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,..\"}} say themselves which picture it is.

--json prints one object; with --n one for each answer, with its \"index\":
  {\"text\":..,\"token_ids\":[..],\"prompt_token_ids\":[..],\"prompt_tokens\":..,\"completion_tokens\":..,
   \"finish_reason\":\"stop|length\"}")]
pub(super) struct Describe {
    #[command(flatten)]
    model: ModelArgs,
    /// A picture; may be given several times.
    #[arg(long = "image", value_name = "FILE", required_unless_present = "messages")]
    images: Vec<PathBuf>,
    /// What to ask; or `-` for all of standard input, as it is. Default: nothing but the pictures.
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    /// Continue the prompt as it is: no chat template.
    #[arg(long, conflicts_with_all = ["system", "messages", "template_args"])]
    raw: bool,
    /// Answer the conversation in this file: [{"role":"user","content":[{"type":"image"},{"type":"text",..}]}, ..].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "system"])]
    messages: Option<PathBuf>,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    lines: AnswerLines,
}

impl Describe {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        let prompt = self.prompt.as_deref().map(prompt_argument).transpose()?.unwrap_or_default();
        let said = self.messages.as_deref().map(|path| read_shown(path, &self.images)).transpose()?;
        let files = self.model.files()?;
        let engine = self.model.engine(files.clone(), Capabilities::Vision)?;
        let plan = self.model.vision_plan(&files.folder().map_err(crate::Error::from)?)?;
        let request = match said {
            Some(said) => self.conversation(said, &plan)?,
            None => self.asked(prompt, &plan)?,
        };
        request.validate()?;
        interrupt.orderly();
        let ticket = engine.vision().submit(&self.model.model, request).map_err(crate::Error::from)?;
        self.lines.tell(ticket, &interrupt)
    }

    /// A conversation as a file has it.
    fn conversation(&self, mut said: DescribeRequest, plan: &VisionPlan) -> Result<DescribeRequest, Failure> {
        let prompt = match said.generate.prompt {
            Prompt::Chat(chat) => self.question.conversation(chat),
            other @ (Prompt::Raw(_) | Prompt::Tokens(_)) => other,
        };
        said.generate = self.question.request(prompt, plan)?;
        self.lines.apply(&mut said.generate);
        Ok(said)
    }

    /// One question about all pictures.
    fn asked(&self, prompt: String, plan: &VisionPlan) -> Result<DescribeRequest, Failure> {
        let images = self.images.iter().map(ImageSource::path).collect();
        let placeholder = plan.placeholder().map_err(crate::Error::from)?;
        let marked = self.raw && placeholder.is_some_and(|placeholder| prompt.contains(&placeholder));
        let prompt =
            if self.raw { Prompt::Raw(prompt) } else { self.question.prompt(&[Message::user(prompt)], plan) };
        let mut generate = self.question.request(prompt, plan)?;
        self.lines.apply(&mut generate);
        let places = if marked { ImagePlaces::Marked } else { ImagePlaces::First };
        Ok(DescribeRequest::new(images, generate).places(places))
    }
}
