//! How a picture is encoded, by its first bytes.

use std::fmt;

use super::ImageError;

/// How a picture is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// Joint Photographic Experts Group.
    Jpeg,
    /// WebP, lossy or not.
    WebP,
    /// Graphics Interchange Format.
    Gif,
}

impl Format {
    /// The format whose mark `bytes` begin with.
    ///
    /// # Errors
    ///
    /// [`ImageError::UnknownFormat`] if it is none of these.
    pub fn of(bytes: &[u8]) -> Result<Self, ImageError> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            _ => Err(ImageError::UnknownFormat { start: start_of(bytes) }),
        }
    }
}

fn start_of(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing".to_owned(),
        bytes => bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_its_mark_alone() {
        assert_eq!(Format::of(b"GIF89a").unwrap(), Format::Gif);
        assert_eq!(Format::of(b"RIFF\0\0\0\0WEBPVP8 ").unwrap(), Format::WebP);
        for none in
            [&b""[..], b"GIF", b"RIFF\0\0\0\0WAVE", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"BM"]
        {
            assert!(matches!(Format::of(none), Err(ImageError::UnknownFormat { .. })), "{none:?}");
        }
    }
}
