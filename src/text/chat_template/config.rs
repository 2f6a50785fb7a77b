//! Where a template comes from: `tokenizer_config.json`, `chat_template.jinja`, or a GGUF file's own words.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DEFAULT, WITH_TOOLS};

/// `tokenizer_config.json`, as far as it bears on a conversation.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ChatConfig {
    chat_template: Option<OneOrNamed>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    sep_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    cls_token: Option<SpecialToken>,
    mask_token: Option<SpecialToken>,
}

/// One template of several.
#[derive(Clone, Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrNamed {
    One(String),
    Named(Vec<NamedTemplate>),
}

/// A token's text, or an object that says more of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Described {
        content: String,
    },
    /// What else old files hold there says nothing.
    Other(serde::de::IgnoredAny),
}

impl SpecialToken {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Described { content: text } => Some(text),
            Self::Other(_) => None,
        }
    }
}

impl ChatConfig {
    /// What a GGUF file's metadata says.
    pub(crate) fn from_text(template: String, bos_token: Option<String>, eos_token: Option<String>) -> Self {
        Self {
            chat_template: Some(OneOrNamed::One(template)),
            bos_token: bos_token.map(SpecialToken::Text),
            eos_token: eos_token.map(SpecialToken::Text),
            ..Self::default()
        }
    }

    /// The token that ends a turn, as it is written.
    pub(crate) fn eos_token(&self) -> Option<&str> {
        self.eos_token.as_ref().and_then(SpecialToken::text)
    }

    /// The token that begins a text, as it is written.
    pub(crate) fn bos_token(&self) -> Option<&str> {
        self.bos_token.as_ref().and_then(SpecialToken::text)
    }

    /// Whether there is a template to render conversations with; `file` as in [`ChatTemplate::new`].
    ///
    /// [`ChatTemplate::new`]: super::ChatTemplate::new
    pub(crate) fn has_template(&self, file: Option<&str>) -> bool {
        !self.templates(file).is_empty()
    }

    /// Whether a template has a word for tools; `file` as in [`ChatTemplate::new`].
    ///
    /// [`ChatTemplate::new`]: super::ChatTemplate::new
    pub(crate) fn mentions_tools(&self, file: Option<&str>) -> bool {
        self.templates(file).iter().any(|(_, template)| template.contains("tools"))
    }

    /// The names and texts of the templates that serve conversations: others are for things that are not
    /// asked for here. A lone one is called [`DEFAULT`]. A file of its own goes before the rest.
    pub(super) fn templates<'a>(&'a self, file: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
        match (file, &self.chat_template) {
            (Some(template), _) => vec![(DEFAULT, template)],
            (None, Some(OneOrNamed::One(template))) => vec![(DEFAULT, template)],
            (None, Some(OneOrNamed::Named(templates))) => {
                let named = templates.iter().map(|named| (named.name.as_str(), named.template.as_str()));
                named.filter(|(name, _)| [DEFAULT, WITH_TOOLS].contains(name)).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    /// The special tokens by the names that templates know them by.
    pub(super) fn special_tokens(&self) -> Map<String, Value> {
        let tokens = [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
            ("unk_token", &self.unk_token),
            ("sep_token", &self.sep_token),
            ("pad_token", &self.pad_token),
            ("cls_token", &self.cls_token),
            ("mask_token", &self.mask_token),
        ];
        let known = tokens.into_iter().filter_map(|(name, token)| Some((name, token.as_ref()?.text()?)));
        known.map(|(name, text)| (name.to_owned(), text.into())).collect()
    }
}
