//! Messages that show pictures, as templates see them.
//!
//! Templates of models that see take what a message says as a list of parts, `{"type": "image"}` and `{"type":
//! "text", "text": ..}`, and write the model's placeholder for each picture. One that takes texts only gets the
//! placeholder within the text.

use serde_json::{Value as Json, json};

use crate::capability::{Chat, ImagePlace};

/// Where a conversation shows pictures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    /// In order; all are places of the conversation.
    pub(crate) places: &'a [ImagePlace],
    /// How a picture is written where a template does not know of any.
    pub(crate) mark: &'a str,
}

/// Whether a template looks at the types of parts, pictures among them.
pub(super) fn reads_parts(template: &str) -> bool {
    template.contains("type") && template.contains("image")
}

impl Shown<'_> {
    /// Makes what each message says a list: texts, and nulls for pictures.
    pub(super) fn part(self, content: &mut Json, chat: &Chat) {
        let messages = content["messages"].as_array_mut().into_iter().flatten();
        for (index, (fields, message)) in messages.zip(&chat.messages).enumerate() {
            let places = self.places.iter().filter(|place| place.message == index);
            fields["content"] = parts(&message.content, places.map(|place| place.at)).into();
        }
    }

    /// Makes of these lists what the template takes.
    pub(super) fn put_in(self, content: &mut Json, reads_parts: bool) {
        for fields in content["messages"].as_array_mut().into_iter().flatten() {
            let parts = fields["content"].as_array().map(Vec::as_slice).unwrap_or_default();
            fields["content"] = if reads_parts {
                parts.iter().map(as_part).collect()
            } else {
                parts.iter().map(|part| part.as_str().unwrap_or(self.mark)).collect::<String>().into()
            };
        }
    }
}

/// `text` cut at these places, with a null at each. Empty texts are left out, unless there is nothing else.
fn parts(text: &str, places: impl Iterator<Item = usize>) -> Vec<Json> {
    let mut parts = Vec::new();
    for (index, piece) in ImagePlace::cut(text, places).enumerate() {
        parts.extend((index > 0).then_some(Json::Null));
        parts.extend((!piece.is_empty()).then(|| json!(piece)));
    }
    if parts.is_empty() {
        parts.push(json!(""));
    }
    parts
}

fn as_part(part: &Json) -> Json {
    match part {
        Json::Null => json!({ "type": "image" }),
        text => json!({ "type": "text", "text": text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Message;
    use crate::text::chat_template::{ChatConfig, ChatTemplate, CivilTime, ContentGuard};

    const PARTS: &str = "{% for m in messages %}[{{ m.role }}:{% for p in m.content %}{% if p.type == 'image' %}\
                         <img>{% else %}({{ p.text }}){% endif %}{% endfor %}]{% endfor %}";

    fn rendered(template: &str, messages: &[Message], places: &[(usize, usize)]) -> String {
        let template =
            ChatTemplate::new(&ChatConfig::from_text(template.to_owned(), None, None), None).unwrap();
        let places: Vec<_> =
            places.iter().map(|(message, at)| ImagePlace { message: *message, at: *at }).collect();
        let guard = ContentGuard::new(["<img>".to_owned(), "image".to_owned()]);
        let shown = Shown { places: &places, mark: "<img>" };
        let chat = Chat::new(messages.to_vec());
        let text = template.render_shown(&chat, shown, &guard, CivilTime::from_unix(0)).unwrap();
        let marks = places.len();
        assert_eq!(text.count("<img>"), marks, "what a caller writes is never a placeholder");
        text.uncovered()
    }

    #[test]
    fn pictures_stand_between_texts() {
        let said =
            [Message::system("be brief"), Message::user("What is <img> in an image?"), Message::user("")];
        assert_eq!(
            rendered(PARTS, &said, &[(1, 0), (1, 8), (1, 26), (2, 0)]),
            "[system:(be brief)][user:<img>(What is )<img>(<img> in an image?)<img>][user:<img>]"
        );
        assert_eq!(
            rendered(PARTS, &said, &[]),
            "[system:(be brief)][user:(What is <img> in an image?)][user:()]"
        );
    }

    #[test]
    fn parts_are_chosen_by_their_types_as_templates_in_use_do() {
        let template = "{% for m in messages %}{% for p in m['content'] | selectattr('type', 'equalto', 'image') %}\
                        {{ '<img>\n' }}{% endfor %}{% for p in m['content'] | selectattr('type', 'equalto', 'text') %}\
                        {{ p['text'] + ' ' }}{% endfor %}{% if 'image' in m['content'][0] %}never{% endif %}{% endfor %}";
        let said = [Message::user("a or b")];
        assert_eq!(rendered(template, &said, &[(0, 2), (0, 6)]), "<img>\n<img>\na  or b ");
    }

    #[test]
    fn a_template_of_texts_has_placeholders_in_them() {
        let texts = "{% for m in messages %}{{ m.role + ': ' + m.content }}\n{% endfor %}";
        let said = [Message::user("a <img> b"), Message::assistant("c")];
        assert_eq!(rendered(texts, &said, &[(0, 2)]), "user: a <img><img> b\nassistant: c\n");
    }
}
