//! What the configurations of all diffusion transformers say.

use crate::arch::ArchError;
use crate::arch::bounds::{not_supported, within};

/// The shape of what goes in and comes out, and of the blocks between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// How many parts attention looks at separately.
    pub(crate) heads: usize,
    /// The width of one of them; at most [`MAX_WIDTH`] all together.
    pub(crate) head_size: usize,
    /// How many numbers a pixel of a latent picture has.
    pub(crate) channels: usize,
    /// How many pixels wide and high a square is that becomes one token.
    pub(crate) side: usize,
    /// The width of a prompt's tokens.
    pub(crate) token_width: usize,
    /// The width of the one vector of a prompt.
    pub(crate) pooled_width: usize,
}

/// How wide a token's vector may be inside.
const MAX_WIDTH: usize = 16_384;

impl Frame {
    /// The width of a token's vector inside.
    pub(crate) fn width(&self) -> usize {
        self.heads * self.head_size
    }

    /// How many numbers a square has.
    pub(super) fn square(&self) -> usize {
        self.side * self.side * self.channels
    }

    /// The width inside feed-forward parts.
    pub(super) fn inner(&self) -> usize {
        4 * self.width()
    }

    /// What is between these bounds can be computed with: nothing that is allocated or divided by is absurd.
    pub(super) fn check(self) -> Result<Self, ArchError> {
        within("attention_head_dim", self.head_size, 1..=1024)?;
        within("num_attention_heads", self.heads, 1..=MAX_WIDTH / self.head_size)?;
        within("in_channels", self.channels, 1..=1024)?;
        within("patch_size", self.side, 1..=16)?;
        within("joint_attention_dim", self.token_width, 1..=65_536)?;
        within("pooled_projection_dim", self.pooled_width, 1..=65_536)?;
        Ok(self)
    }
}

/// How many blocks there may be of a kind.
pub(super) fn blocks_within(field: &'static str, found: usize, least: usize) -> Result<(), ArchError> {
    within(field, found, least..=512)
}

/// Asserts that each entry, set to what it must not be, is refused by its name.
#[cfg(test)]
pub(super) fn refused_by_name<T: std::fmt::Debug>(
    read: impl Fn(&str) -> Result<T, ArchError>,
    wrong: &[(&str, &str)],
) {
    for (field, found) in wrong {
        match read(&format!(r#"{{"{field}": {found}}}"#)) {
            Err(ArchError::BadConfig { field: named, .. }) => assert_eq!(named, *field),
            other => panic!("{field} of {found}: {other:?}"),
        }
    }
}

/// The class that a pipeline's part says it is.
pub(super) fn class_is(found: Option<&str>, expected: &'static str) -> Result<(), ArchError> {
    match found {
        Some(other) if other != expected => Err(not_supported("class", other, &[expected])),
        _ => Ok(()),
    }
}
