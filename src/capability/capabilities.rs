//! The five kinds of inference by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Capability, ImageEmbedding, TextEmbedding, TextToImage, TextToText, Vision};

/// What a model can do. Serialised by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capabilities {
    /// It embeds texts.
    TextEmbedding,
    /// It continues texts and answers conversations.
    TextToText,
    /// It embeds pictures.
    ImageEmbedding,
    /// It draws what a text describes.
    TextToImage,
    /// It answers questions about pictures.
    Vision,
}

/// A name that is none of [`Capabilities::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no capability is called {0:?}; there are text-embedding, text-to-text, image-embedding, vision and text-to-image"
)]
pub struct UnknownCapability(String);

impl Capabilities {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::TextEmbedding, Self::TextToText, Self::ImageEmbedding, Self::Vision, Self::TextToImage];

    /// What it is called: [`Capability::NAME`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::TextEmbedding => TextEmbedding::NAME,
            Self::TextToText => TextToText::NAME,
            Self::ImageEmbedding => ImageEmbedding::NAME,
            Self::TextToImage => TextToImage::NAME,
            Self::Vision => Vision::NAME,
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Capabilities {
    type Err = UnknownCapability;

    fn from_str(name: &str) -> Result<Self, UnknownCapability> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| UnknownCapability(name.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_nothing_else_is() {
        for capability in Capabilities::ALL {
            assert_eq!(capability.to_string().parse(), Ok(capability));
            assert_eq!(serde_json::to_value(capability).unwrap(), capability.name());
        }
        let unknown = "text-embeding".parse::<Capabilities>().unwrap_err().to_string();
        assert!(Capabilities::ALL.iter().all(|known| unknown.contains(known.name())), "{unknown}");
    }
}
