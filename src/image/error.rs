//! Why a source is no picture.

use std::path::PathBuf;
use std::sync::Arc;

use super::Format;

/// A source is no picture that can be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file could not be read.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The encoder refused.
    #[error("the picture could not be encoded: {reason}")]
    NotEncoded {
        /// What it said.
        reason: String,
    },
    /// The path leads to a folder or a device.
    #[error("{} is no file", path.display())]
    NoFile {
        /// Where it leads.
        path: PathBuf,
    },
    /// The encoded picture is longer than any that is looked at.
    #[error("it has {bytes} bytes, and no picture may have more than {most}: encode it smaller")]
    TooLong {
        /// How many it has, or would have decoded from base64.
        bytes: u64,
        /// How many are looked at.
        most: u64,
    },
    /// The picture, cut, has more tiles than are looked at.
    #[error("it becomes {tiles} tiles, and at most {most} are looked at: scale it down")]
    TooManyTiles {
        /// How many it becomes, the whole among them.
        tiles: usize,
        /// How many are looked at.
        most: usize,
    },
    /// The text is not base64.
    #[error("it is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The URL is no `data:` URL with a picture in it.
    #[error("the URL {flaw}; a picture's begins with data:image/png;base64, or the like")]
    DataUrl {
        /// What is wrong with it.
        flaw: &'static str,
    },
    /// The first bytes are those of no format that is known here.
    #[error("it begins with {start}, which is no PNG, JPEG, WebP or GIF: convert it to one of these")]
    UnknownFormat {
        /// Its first bytes, in hexadecimal.
        start: String,
    },
    /// A picture without a pixel.
    #[error("it is {width} pixels wide and {height} high: there is nothing to see")]
    Empty {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// A picture with more pixels than are looked at.
    #[error(
        "it is {width} pixels wide and {height} high; at most {max_side} on a side and {max_pixels} in all are \
         looked at: scale it down"
    )]
    TooLarge {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// The longest side that is looked at.
        max_side: u32,
        /// The most pixels that are looked at.
        max_pixels: u64,
    },
    /// Decoding would take more memory than one picture is given.
    #[error("decoding it may take {needed} bytes of memory, and at most {most} are given: scale it down")]
    TooMuchMemory {
        /// What it may take.
        needed: u64,
        /// What is given.
        most: u64,
    },
    /// The header promises more pixels than the rest of the file can hold, however well it is compressed.
    #[error("its header promises {width} x {height} pixels, which {bytes} bytes of {format} cannot hold")]
    Hollow {
        /// The format.
        format: Format,
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// How many bytes there are.
        bytes: u64,
    },
    /// The file ends before the picture does.
    #[error("the {format} ends before the picture does: it was cut")]
    Truncated {
        /// The format.
        format: Format,
    },
    /// The decoder refused the file.
    #[error("it is no sound {format}: {reason}")]
    Damaged {
        /// The format.
        format: Format,
        /// What the decoder says.
        reason: String,
    },
    /// The decoder panicked, which no file should make it do.
    #[error("the decoder of {format} gave up on it: {message}")]
    DecoderPanicked {
        /// The format.
        format: Format,
        /// The panic's message.
        message: Arc<str>,
    },
    /// There are not as many bytes as pixels need.
    #[error("{width} x {height} pixels are {expected} bytes of red, green and blue, not {found}")]
    WrongLength {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Three times the pixels.
        expected: u64,
        /// How many bytes there are.
        found: usize,
    },
}

impl ImageError {
    /// Whether the same picture may be readable later: a file is there and may be read, and yet could not be.
    pub(crate) fn may_pass(&self) -> bool {
        use std::io::ErrorKind::{NotFound, PermissionDenied};
        matches!(self, Self::Read { source, .. } if !matches!(source.kind(), NotFound | PermissionDenied))
    }
}
