//! Conversations as a file says them: in the form of `OpenAI`'s chat completions.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;
use super::files::read_json;
use crate::capability::{Chat, ContentPart, DescribeRequest, ImageSource, Message, Prompt, Role, ToolCall};

/// A list of messages, or an object that holds one.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of messages, or an object with \"messages\" and maybe \"tools\""
)]
enum Said {
    Messages(Vec<SaidMessage>),
    Conversation {
        messages: Vec<SaidMessage>,
        #[serde(default)]
        tools: Vec<Value>,
    },
}

#[derive(Deserialize)]
struct SaidMessage {
    role: Role,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

/// A text, or texts and pictures in parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    Text {
        text: String,
    },
    /// The next of the pictures named beside the conversation, unless it says where one is.
    Image {
        path: Option<PathBuf>,
        url: Option<String>,
    },
    /// As the API has it.
    ImageUrl {
        image_url: ImageUrl,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ImageUrl {
    Plain(String),
    Described { url: String },
}

/// The conversation in a file, which shows no pictures.
pub(super) fn read_conversation(path: &Path) -> Result<Chat, Failure> {
    read_json::<Said>(path)?.without_pictures()
}

/// The conversation in a file, which may show pictures, the next of `images` where it does not say which.
pub(super) fn read_shown(path: &Path, images: &[PathBuf]) -> Result<DescribeRequest, Failure> {
    read_json::<Said>(path)?.with_pictures(images)
}

impl Said {
    fn parts(self) -> (Vec<SaidMessage>, Vec<Value>) {
        match self {
            Self::Messages(messages) => (messages, Vec::new()),
            Self::Conversation { messages, tools } => (messages, tools),
        }
    }

    fn without_pictures(self) -> Result<Chat, Failure> {
        let (messages, tools) = self.parts();
        let said = messages.into_iter().map(|message| {
            let (mut message, parts) = message.read();
            for part in parts {
                let Part::Text { text } = part else {
                    return Err(Failure::Usage("the conversation shows pictures: ask `millpond describe`"));
                };
                message.content.push_str(&text);
            }
            Ok(message)
        });
        let mut chat = Chat::new(said.collect::<Result<_, _>>()?);
        chat.tools = tools;
        Ok(chat)
    }

    fn with_pictures(self, images: &[PathBuf]) -> Result<DescribeRequest, Failure> {
        let (messages, tools) = self.parts();
        let mut images = images.iter();
        let said = messages.into_iter().map(|message| {
            let (message, parts) = message.read();
            let parts = parts.into_iter().map(|part| part.read(&mut images)).collect::<Result<_, _>>()?;
            Ok((message, parts))
        });
        let mut request = DescribeRequest::conversation(said.collect::<Result<Vec<_>, Failure>>()?);
        if images.next().is_some() {
            return Err(Failure::Usage(
                "the conversation has fewer {\"type\":\"image\"} without a path than there are --image",
            ));
        }
        if let Prompt::Chat(chat) = &mut request.generate.prompt {
            chat.tools = tools;
        }
        Ok(request)
    }
}

impl Part {
    fn read<'a>(self, images: &mut impl Iterator<Item = &'a PathBuf>) -> Result<ContentPart, Failure> {
        let missing = Failure::Usage(
            "the conversation has more {\"type\":\"image\"} without a path than there are --image",
        );
        Ok(ContentPart::Image(match self {
            Self::Text { text } => return Ok(ContentPart::Text(text)),
            Self::Image { path: Some(path), .. } => ImageSource::path(path),
            Self::Image { url: Some(url), .. } => ImageSource::data_url(url),
            Self::Image { .. } => ImageSource::path(images.next().ok_or(missing)?),
            Self::ImageUrl { image_url: ImageUrl::Plain(url) | ImageUrl::Described { url } } => {
                ImageSource::data_url(url)
            }
        }))
    }
}

impl SaidMessage {
    /// The message without what it says, and what it says.
    fn read(self) -> (Message, Vec<Part>) {
        let parts = match self.content {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![Part::Text { text }],
            Some(Content::Parts(parts)) => parts,
        };
        let mut message = Message::new(self.role, "");
        message.reasoning = self.reasoning_content;
        message.tool_calls = self.tool_calls.unwrap_or_default();
        message.tool_call_id = self.tool_call_id;
        message.name = self.name;
        (message, parts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat(said: Value) -> Option<Chat> {
        serde_json::from_value::<Said>(said).ok()?.without_pictures().ok()
    }

    #[test]
    fn pictures_are_named_in_the_conversation_or_beside_it() {
        let data = "data:image/png;base64,QQ==";
        let said = json!([{"role": "user", "content": [
            {"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"},
            {"type": "image", "path": "two.png"}, {"type": "image_url", "image_url": {"url": data}},
            {"type": "image_url", "image_url": data},
        ]}]);
        let shown = |images: &[&str]| {
            let images: Vec<PathBuf> = images.iter().map(PathBuf::from).collect();
            serde_json::from_value::<Said>(said.clone()).unwrap().with_pictures(&images)
        };
        let request = shown(&["one.png"]).unwrap();
        let file = ImageSource::path;
        let url = || ImageSource::data_url(data);
        assert_eq!(request.images, [file("one.png"), file("two.png"), url(), url()]);
        let crate::capability::ImagePlaces::At(places) = &request.places else { panic!("{request:?}") };
        assert_eq!(places.iter().map(|place| place.at).collect::<Vec<_>>(), [1, 2, 2, 2]);
        for wrong in [&[][..], &["one.png", "three.png"]] {
            assert!(matches!(shown(wrong), Err(Failure::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn messages_come_alone_or_in_an_object() {
        let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
        let alone = chat(messages.clone()).unwrap();
        assert_eq!(alone.messages, [Message::system("be brief"), Message::user("hi")]);
        let object =
            chat(json!({"model": "x", "messages": messages, "tools": [{"type": "function"}]})).unwrap();
        assert_eq!((object.messages, object.tools), (alone.messages, vec![json!({"type": "function"})]));
    }

    #[test]
    fn parts_are_joined_and_calls_are_read() {
        let call =
            json!({"id": "1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 3}"}});
        let said = json!([
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "content": "seen", "tool_call_id": "1", "name": "look"},
        ]);
        let messages = chat(said).unwrap().messages;
        assert_eq!(messages[0], Message::system("ab"));
        let called =
            ToolCall { id: Some("1".to_owned()), name: "look".to_owned(), arguments: json!({"at": 3}) };
        assert_eq!(messages[1].tool_calls, [called]);
        assert_eq!(messages[2].tool_call_id.as_deref(), Some("1"));
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        for bad in [json!("hi"), json!({"role": "user"}), json!([{"role": "owl", "content": "hu"}])] {
            assert!(chat(bad.clone()).is_none(), "{bad}");
        }
        let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
        assert!(chat(image).is_none(), "a picture is not read over silently");
    }
}
