//! The arguments of every verb that has a model write, and the request they lead to.

use clap::Args;
use serde_json::Value;

use super::answer_args::AnswerArgs;
use super::failure::Failure;
use crate::arch::{DecoderPlan, VisionPlan};
use crate::capability::{Chat, GenerateRequest, Message, Prompt};

/// What a chat template is told, and by which name.
type TemplateArg = (String, Value);

/// What goes with a question, and how the answer is written.
#[derive(Debug, Args)]
pub(super) struct QuestionArgs {
    /// What the model is told before anything else.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tell the chat template this too, such as `enable_thinking=false`; may be given several times.
    #[arg(long = "template-arg", value_name = "NAME=JSON", value_parser = template_arg)]
    template_args: Vec<TemplateArg>,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// What questions depend on, of the model that they are put to.
pub(super) struct Writer {
    has_chat_template: bool,
    max_tokens: usize,
}

impl From<&DecoderPlan> for Writer {
    fn from(plan: &DecoderPlan) -> Self {
        Self { has_chat_template: plan.has_chat_template(), max_tokens: plan.max_tokens() }
    }
}

impl From<&VisionPlan> for Writer {
    fn from(plan: &VisionPlan) -> Self {
        Self { has_chat_template: plan.has_chat_template(), max_tokens: plan.max_tokens() }
    }
}

/// `NAME=JSON`.
fn template_arg(text: &str) -> Result<TemplateArg, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=JSON, as in enable_thinking=false")?;
    if name.is_empty() {
        return Err("there is no name before the \"=\"".to_owned());
    }
    let value = serde_json::from_str(value)
        .map_err(|error| format!("{value:?} is no JSON ({error}); a text needs quotes: {name}='\"text\"'"))?;
    Ok((name.to_owned(), value))
}

impl QuestionArgs {
    /// What was `said`, the last of it a question. A model without a chat template gets the question alone and as
    /// it is, unless something is asked for that needs a template.
    pub(super) fn prompt(&self, said: &[Message], writer: impl Into<Writer>) -> Prompt {
        let writer: Writer = writer.into();
        let needs_template = self.system.is_some() || !self.template_args.is_empty();
        if writer.has_chat_template || needs_template {
            let system = self.system.iter().map(Message::system);
            return self.conversation(Chat::new(system.chain(said.iter().cloned()).collect()));
        }
        Prompt::Raw(said.last().map(|question| question.content.clone()).unwrap_or_default())
    }

    /// A conversation as it is, with what the template is told.
    pub(super) fn conversation(&self, mut chat: Chat) -> Prompt {
        chat.template_args.extend(self.template_args.iter().cloned());
        Prompt::Chat(chat)
    }

    /// What asks `writer` for an answer to `prompt`.
    pub(super) fn request(
        &self,
        prompt: Prompt,
        writer: impl Into<Writer>,
    ) -> Result<GenerateRequest, Failure> {
        let writer: Writer = writer.into();
        self.answer.apply(GenerateRequest::new(prompt), writer.max_tokens)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn template_arguments_are_names_with_json() {
        assert_eq!(template_arg("enable_thinking=false"), Ok(("enable_thinking".to_owned(), json!(false))));
        assert_eq!(template_arg("a=\"x=y\""), Ok(("a".to_owned(), json!("x=y"))));
        for bad in ["", "name", "=1", "name=", "name=yes", "name={"] {
            assert!(template_arg(bad).is_err(), "{bad}");
        }
    }
}
