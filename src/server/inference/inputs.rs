//! Texts and pictures out of tensors.

use bytes::Bytes;

use super::datatype::Datatype;
use super::elements::Elements;
use super::tensor::{Tensor, shown};
use crate::capability::ImageSource;
use crate::server::api_error::ApiError;
use crate::server::image_url;

/// How many texts or pictures one request may hold.
pub(super) const MOST_ROWS: usize = 2048;

fn wrong(tensor: &Tensor, message: impl std::fmt::Display) -> ApiError {
    let param = format!("inputs.{}", shown(&tensor.name));
    let message = format!("{param}: {message}");
    ApiError::invalid(param, message)
}

/// The texts of a tensor of the shape `[n]` or `[n, 1]`.
///
/// # Errors
///
/// 400 for another shape or type, for none, for too many, and for what is no UTF-8.
pub(super) fn texts(tensor: &Tensor) -> Result<Vec<String>, ApiError> {
    check_rows(tensor)?;
    match &tensor.elements {
        Elements::Texts(all) => Ok(all.clone()),
        Elements::Raw(all) => all.iter().map(|bytes| text(tensor, bytes)).collect(),
        _ => Err(wrong(tensor, format!("it is {}, not BYTES", tensor.datatype))),
    }
}

fn text(tensor: &Tensor, bytes: &Bytes) -> Result<String, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(tensor, "one of its texts is no UTF-8"))?;
    Ok(text.to_owned())
}

/// The pictures of a tensor: encoded ones, in JSON as base64 or in `data:` URLs, or pixels of the shape `[h, w, 3]` or
/// `[n, h, w, 3]`.
///
/// # Errors
///
/// 400 for another shape or type, for none, and for too many. Whether a picture can be read shows later.
pub(super) fn pictures(tensor: &Tensor) -> Result<Vec<ImageSource>, ApiError> {
    match &tensor.elements {
        Elements::Texts(all) => {
            check_rows(tensor)?;
            Ok(image_url::pictures(all))
        }
        Elements::Raw(all) => {
            check_rows(tensor)?;
            Ok(all.iter().map(|bytes| ImageSource::encoded(&bytes[..])).collect())
        }
        Elements::Small(all) if tensor.datatype == Datatype::Uint8 => pixels(tensor, all),
        Elements::None => Err(wrong(tensor, "it holds no picture")),
        _ => Err(wrong(tensor, format!("it is {}, neither BYTES nor UINT8", tensor.datatype))),
    }
}

fn pixels(tensor: &Tensor, all: &[u8]) -> Result<Vec<ImageSource>, ApiError> {
    let shape = || {
        wrong(tensor, format!("pixels are of the shape [h, w, 3] or [n, h, w, 3], not {:?}", tensor.shape))
    };
    let (count, height, width) = match tensor.shape[..] {
        [height, width, 3] => (1, height, width),
        [count, height, width, 3] => (count, height, width),
        _ => return Err(shape()),
    };
    if count == 0 || height == 0 || width == 0 {
        return Err(shape());
    }
    if count > MOST_ROWS {
        return Err(wrong(tensor, format!("{count} pictures are more than {MOST_ROWS}")));
    }
    let side = |side: usize| u32::try_from(side).map_err(|_| shape());
    let (rows, columns) = (side(height)?, side(width)?);
    Ok(all.chunks(height * width * 3).map(|rgb| ImageSource::pixels(columns, rows, rgb)).collect())
}

/// A list of some rows: not of none, and not of too many.
fn check_rows(tensor: &Tensor) -> Result<(), ApiError> {
    match tensor.shape[..] {
        [0] | [0, 1] => Err(wrong(tensor, "it is empty")),
        [rows] | [rows, 1] if rows <= MOST_ROWS => Ok(()),
        [rows] | [rows, 1] => Err(wrong(tensor, format!("{rows} rows are more than {MOST_ROWS}"))),
        _ => Err(wrong(tensor, format!("its shape is {:?}, not [n] or [n, 1]", tensor.shape))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(datatype: Datatype, shape: &[usize], elements: Elements) -> Tensor {
        Tensor { name: "x".to_owned(), datatype, shape: shape.to_vec(), elements }
    }

    fn raw(texts: &[&'static [u8]]) -> Elements {
        Elements::Raw(texts.iter().map(|text| Bytes::from_static(text)).collect())
    }

    #[test]
    fn texts_are_rows() {
        let read = |shape: &[usize], all: Elements| texts(&tensor(Datatype::Bytes, shape, all)).ok();
        let two = || Elements::Texts(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read(&[2], two()).unwrap(), ["a", "b"]);
        assert_eq!(read(&[2, 1], two()).unwrap(), ["a", "b"]);
        assert_eq!(read(&[1], raw(&["é".as_bytes()])).unwrap(), ["é"]);
        assert_eq!(read(&[1, 2], two()), None);
        assert_eq!(read(&[2, 1, 1], two()), None);
        assert_eq!(read(&[], raw(&[b"a"])), None);
        assert_eq!(read(&[0], Elements::None), None);
        assert_eq!(read(&[1], raw(&[b"\xff"])), None);
        assert_eq!(read(&[MOST_ROWS + 1], Elements::Texts(vec![String::new(); MOST_ROWS + 1])), None);
        assert!(texts(&tensor(Datatype::Int32, &[1], Elements::Whole(vec![1]))).is_err());
    }

    #[test]
    fn pictures_are_encoded_or_pixels() {
        let read = |datatype, shape: &[usize], all| pictures(&tensor(datatype, shape, all)).ok();
        let spelled = Elements::Texts(vec!["iVBO".to_owned(), "data:image/png;base64,iVBO".to_owned()]);
        let expected = vec![ImageSource::base64("iVBO"), ImageSource::data_url("data:image/png;base64,iVBO")];
        assert_eq!(read(Datatype::Bytes, &[2], spelled), Some(expected));
        assert_eq!(read(Datatype::Bytes, &[1], raw(&[b"x"])), Some(vec![ImageSource::encoded(&b"x"[..])]));
        let small = |count| Elements::Small(vec![7; count]);
        let one = ImageSource::pixels(2, 1, vec![7; 6]);
        assert_eq!(read(Datatype::Uint8, &[1, 2, 3], small(6)), Some(vec![one.clone()]));
        assert_eq!(read(Datatype::Uint8, &[2, 1, 2, 3], small(12)), Some(vec![one.clone(), one]));
        for shape in [&[6][..], &[1, 2, 4], &[3, 2], &[0, 1, 1, 3], &[1, 0, 1, 3], &[1, 1, 1, 2, 3]] {
            let count = shape.iter().product();
            assert_eq!(read(Datatype::Uint8, shape, small(count)), None, "{shape:?}");
        }
        assert_eq!(read(Datatype::Bytes, &[0], Elements::None), None);
    }
}
