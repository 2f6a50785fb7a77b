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

/// What the layers of an encoder may have, so that nothing that is allocated or divided by afterwards is absurd.
pub(crate) fn layers_within(
    hidden: usize,
    layers: usize,
    heads: usize,
    inner: usize,
) -> Result<(), ArchError> {
    within("hidden_size", hidden, 1..=16_384)?;
    within("num_hidden_layers", layers, 1..=512)?;
    within("num_attention_heads", heads, 1..=hidden)?;
    within("intermediate_size", inner, 1..=131_072)?;
    if hidden.is_multiple_of(heads) {
        return Ok(());
    }
    Err(bad("num_attention_heads", heads, format!("it must divide hidden_size, {hidden}")))
}

/// What a norm may add to variances.
pub(crate) fn epsilon_within(eps: f64) -> Result<(), ArchError> {
    if (0.0..1.0).contains(&eps) {
        return Ok(());
    }
    Err(bad("layer_norm_eps", eps, "it must be in 0..1".to_owned()))
}

pub(crate) fn bad(field: &'static str, found: impl Display, expected: String) -> ArchError {
    ArchError::BadConfig { field, found: found.to_string(), expected }
}

pub(crate) fn not_supported(what: &'static str, found: &str, supported: &[&'static str]) -> ArchError {
    ArchError::Unsupported { what, found: found.to_owned(), supported: supported.to_vec() }
}
