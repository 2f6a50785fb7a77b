//! What is wrong with pictures, as requests are told.

use crate::capability::{InvalidRequest, ModelError};
use crate::image::ImageError;

/// What is wrong with one picture.
pub(super) fn of_image(index: usize, error: &impl ToString) -> InvalidRequest {
    InvalidRequest::new("images", format!("picture {index}: {}", error.to_string()))
}

/// A file that cannot be read now may be readable later; all else stays as it is.
pub(super) fn refused(index: usize, error: &ImageError) -> ModelError {
    if error.may_pass() {
        return ModelError::failed(error.to_string());
    }
    of_image(index, error).into()
}
