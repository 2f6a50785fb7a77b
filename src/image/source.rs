//! The bytes of an encoded picture, wherever they come from.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest as _, Sha256};

use super::{ImageError, Picture};
use crate::capability::ImageSource;

/// The longest encoded picture that is looked at, in bytes.
pub const MAX_ENCODED: u64 = 64 << 20;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a picture is known by: a digest (SHA-256) of its bytes as they came, or of its pixels. Nobody can make two
/// pictures with one digest, so what is kept of one is never taken for another's.
type Digest = [u8; 32];

/// The picture in memory, still encoded, and what it is known by. The same bytes are the same picture, wherever they
/// come from.
///
/// # Errors
///
/// [`ImageError`] if there are no such bytes, or too many.
pub(crate) fn fetch(source: &ImageSource) -> Result<(ImageSource, Digest), ImageError> {
    let bytes: Arc<[u8]> = match source {
        ImageSource::Path(path) => read(path)?.into(),
        ImageSource::Encoded(bytes) => of_length(bytes).map(|_| bytes.clone())?,
        ImageSource::Base64(text) => from_base64(text)?.into(),
        ImageSource::DataUrl(url) => from_base64(base64_of(url)?)?.into(),
        ImageSource::Pixels { width, height, rgb } => {
            Picture::check(*width, *height, rgb)?;
            let sides = [width.to_le_bytes(), height.to_le_bytes()].concat();
            return Ok((source.clone(), digest(&[b"pixels", &sides, rgb])));
        }
    };
    let digest = digest(&[b"encoded", &bytes]);
    Ok((ImageSource::Encoded(bytes), digest))
}

fn digest(parts: &[&[u8]]) -> Digest {
    let whole = parts.iter().fold(Sha256::new(), Sha256::chain_update);
    whole.finalize().into()
}

/// `bytes`, unless there are too many.
pub(super) fn of_length(bytes: &[u8]) -> Result<&[u8], ImageError> {
    check_length(bytes.len() as u64)?;
    Ok(bytes)
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    let failed = |source| ImageError::Read { path: path.to_owned(), source: Arc::new(source) };
    // Before it is opened: opening a pipe would wait for whoever writes to it.
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_file() {
        return Err(ImageError::NoFile { path: path.to_owned() });
    }
    check_length(found.len())?;
    let mut bytes = Vec::with_capacity(found.len() as usize);
    // It may have grown since.
    File::open(path).map_err(failed)?.take(MAX_ENCODED + 1).read_to_end(&mut bytes).map_err(failed)?;
    check_length(bytes.len() as u64)?;
    Ok(bytes)
}

/// Decodes base64, line breaks or none.
pub(super) fn from_base64(text: &str) -> Result<Vec<u8>, ImageError> {
    check_base64(text)?;
    let blank = |c: char| c.is_ascii_whitespace();
    let text = if text.contains(blank) { Cow::Owned(text.replace(blank, "")) } else { Cow::Borrowed(text) };
    Ok(BASE64.decode(&*text)?)
}

/// Refuses what is too long before any of it is decoded.
pub(super) fn check_base64(text: &str) -> Result<(), ImageError> {
    check_length(text.len() as u64 / 4 * 3)
}

/// The base64 part of a `data:` URL with a picture in it.
pub(super) fn base64_of(url: &str) -> Result<&str, ImageError> {
    let flaw = |flaw| ImageError::DataUrl { flaw };
    let is_data = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let rest = url.get(5..).filter(|_| is_data).ok_or(flaw("does not begin with data:"))?;
    let (head, data) = rest.split_once(',').ok_or(flaw("has no comma, behind which its data would be"))?;
    let mut parts = head.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.get(..6).is_some_and(|kind| kind.eq_ignore_ascii_case("image/")) {
        return Err(flaw("does not say that it is a picture"));
    }
    if !parts.next_back().is_some_and(|last| last.eq_ignore_ascii_case("base64")) {
        return Err(flaw("is not in base64"));
    }
    Ok(data)
}

fn check_length(bytes: u64) -> Result<(), ImageError> {
    if bytes > MAX_ENCODED {
        return Err(ImageError::TooLong { bytes, most: MAX_ENCODED });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_may_have_line_breaks_and_need_not_be_padded() {
        for text in ["bWlsbA==", "bWlsbA", "bWls\r\nbA==\n", " bWlsbA=="] {
            assert_eq!(from_base64(text).unwrap(), b"mill", "{text:?}");
        }
        for text in ["bWl$bA==", "bWlsb", "bWlsbA==bWls", "=", "bW-_"] {
            assert!(matches!(from_base64(text), Err(ImageError::Base64(_))), "{text:?}");
        }
    }

    #[test]
    fn a_picture_is_known_by_its_bytes_wherever_they_come_from() {
        let known = |source: ImageSource| fetch(&source).unwrap().1;
        let encoded = known(ImageSource::encoded(*b"mill"));
        assert_eq!(known(ImageSource::base64("bWlsbA==")), encoded);
        assert_eq!(known(ImageSource::data_url("data:image/png;base64,bWlsbA")), encoded);
        assert_ne!(known(ImageSource::encoded(*b"mild")), encoded);
        let pixels = |width, height, rgb: &[u8]| known(ImageSource::pixels(width, height, rgb));
        assert_ne!(pixels(2, 1, &[7; 6]), pixels(1, 2, &[7; 6]));
        assert_eq!(pixels(2, 1, &[7; 6]), pixels(2, 1, &[7; 6]));
        assert!(fetch(&ImageSource::pixels(1, 1, [0; 4])).is_err());
        assert!(fetch(&ImageSource::path("/no/such/file")).is_err());
    }

    #[test]
    fn base64_of_too_much_is_refused_unread() {
        let text = "A".repeat(MAX_ENCODED as usize / 3 * 4 + 8);
        assert!(matches!(from_base64(&text), Err(ImageError::TooLong { .. })));
    }

    #[test]
    fn a_data_url_says_that_it_is_a_picture_in_base64() {
        for url in ["data:image/png;base64,QQ", "DATA:Image/PNG;BASE64,QQ", "data:image/png;name=a;base64,QQ"]
        {
            assert_eq!(base64_of(url).unwrap(), "QQ", "{url}");
        }
        for url in [
            "",
            "data",
            "data:",
            "data:,QQ",
            "data:;base64,QQ",
            "data:image/png,QQ",
            "data:text/html;base64,QQ",
            "data:image/png;base64",
            "http://x/a.png,",
            "däta:image/png;base64,QQ",
        ] {
            assert!(matches!(base64_of(url), Err(ImageError::DataUrl { .. })), "{url}");
        }
        let nested = base64_of("data:image/png;base64,data:image/png;base64,QQ").unwrap();
        assert!(matches!(from_base64(nested), Err(ImageError::Base64(_))));
    }
}
