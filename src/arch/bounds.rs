//! What a number in `config.json` may be.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::arch::ArchError;

pub(crate) fn within(
    field: &'static str,
    found: usize,
    bounds: RangeInclusive<usize>,
) -> Result<(), ArchError> {
    if bounds.contains(&found) {
        return Ok(());
    }
    Err(bad(field, found, format!("it must be in {}..={}", bounds.start(), bounds.end())))
}

pub(crate) fn bad(field: &'static str, found: impl Display, expected: String) -> ArchError {
    ArchError::BadConfig { field, found: found.to_string(), expected }
}

pub(crate) fn not_supported(what: &'static str, found: &str, supported: &[&'static str]) -> ArchError {
    ArchError::Unsupported { what, found: found.to_owned(), supported: supported.to_vec() }
}
