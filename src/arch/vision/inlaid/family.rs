//! What differs from family to family.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::ops::Range;

use candle_core::{Result, Tensor};

use crate::arch::decoder::Places;
use crate::arch::{ArchError, Scope};
use crate::image::{Picture, PixelValues};

/// A family of models that see, as one folder's files describe it.
pub(super) trait Family: Debug + Send + Sync {
    /// The token that the decoder reads a row of a picture in place of.
    fn image_token(&self) -> u32;

    /// The token that stands for a whole picture in the words of a template.
    fn placeholder(&self) -> u32 {
        self.image_token()
    }

    /// The tokens that frame pictures in prompts, beside those two, whatever a tokenizer calls them: a message's text
    /// never becomes one.
    fn controls(&self) -> Controls {
        Controls::default()
    }

    /// What the network reads of a picture.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, and what could.
    fn prepare(&self, picture: &Picture) -> std::result::Result<Prepared, String>;

    /// How many rows pictures have: the fewest, and as many as most have.
    fn rows(&self) -> Rows;

    /// What a placeholder becomes for a picture of this shape. `token` gives the text of one of the model's tokens.
    ///
    /// # Errors
    ///
    /// Which token is missing.
    fn filling(
        &self,
        shape: [usize; 2],
        token: &dyn Fn(u32) -> Option<String>,
    ) -> std::result::Result<String, u32>;

    /// How a picture is written in a prompt without a template. Default: as its placeholder alone.
    fn mark(&self, token: &dyn Fn(u32) -> Option<String>) -> Option<String> {
        token(self.placeholder())
    }

    /// Which tokens of a prompt see each other, whichever comes first.
    fn together(&self) -> Together {
        Together::Nothing
    }

    /// How many tokens see each other at most, in prompts of up to `longest`.
    fn longest_together(&self, _longest: usize) -> usize {
        0
    }

    /// Where the tokens of a prompt of so many are, if that is not told by their order. `pictures` are the tokens and
    /// the shape of each.
    fn places(&self, _tokens: usize, _pictures: &[(Range<usize>, [usize; 2])]) -> Option<Places> {
        None
    }

    /// Takes the network that reads pictures out of a checkpoint.
    fn load(&self, root: &Scope<'_>) -> std::result::Result<Box<dyn Eyes>, ArchError>;

    /// Whether a tensor is the decoder's. Default: if it is not where most families keep what reads pictures.
    fn is_decoders(&self, name: &str) -> bool {
        !name.contains("vision_tower.") && !name.contains("multi_modal_projector.")
    }

    /// How many numbers reading one view holds at once on so many threads.
    fn pass_numbers(&self, threads: NonZeroUsize) -> u64;

    /// The `model_type` of the network that reads pictures, and the side of its patches.
    fn tower(&self) -> (&'static str, usize);
}

/// Tokens that are no text of a message, all of which a tokenizer must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Controls {
    pub(super) ids: Vec<u32>,
    /// Those that files tell by their text alone.
    pub(super) texts: Vec<String>,
}

/// Which tokens of a prompt see each other, whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Together {
    /// None: each sees what is before it.
    Nothing,
    /// The rows of one picture.
    Picture,
    /// All of the prompt, which is no conversation: its text begins behind its pictures and ends with its line.
    Prompt,
}

/// How many rows pictures have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) fewest: usize,
    pub(super) usual: usize,
}

/// A picture as the network reads it.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What it looks at one after the other.
    pub(super) views: Vec<PixelValues>,
    /// What [`Family::filling`] wants to know of it.
    pub(super) shape: [usize; 2],
    /// How many rows all views have together.
    pub(super) rows: usize,
}

/// A network that reads pictures.
pub(super) trait Eyes: Debug + Send + Sync {
    /// The rows that the decoder reads for a view: `[rows, hidden]`.
    fn see(&self, view: &PixelValues) -> Result<Tensor>;
}
