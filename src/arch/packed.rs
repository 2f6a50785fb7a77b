//! Texts laid end to end.

use std::ops::Range;

use crate::text::EncodedText;

/// The tokens of several texts, one after the other, without padding.
#[derive(Debug, Default)]
pub(crate) struct PackedTexts {
    /// The token ids: `[tokens]`.
    pub(crate) ids: Vec<u32>,
    /// The segment of each token: `[tokens]`.
    pub(crate) type_ids: Vec<u32>,
    /// The place of each token in its text, from 0: `[tokens]`.
    pub(crate) positions: Vec<u32>,
    /// Which tokens belong to which text, in order; none is empty.
    pub(crate) spans: Vec<Range<usize>>,
}

impl PackedTexts {
    /// Lays out `texts`. An empty one is left out, having no tokens to compute.
    pub(crate) fn new<'a>(texts: impl IntoIterator<Item = &'a EncodedText>) -> Self {
        let mut packed = Self::default();
        for text in texts.into_iter().filter(|text| !text.ids.is_empty()) {
            let start = packed.ids.len();
            packed.ids.extend(&text.ids);
            packed.type_ids.extend(&text.type_ids);
            packed.positions.extend(0..text.ids.len() as u32);
            packed.spans.push(start..packed.ids.len());
        }
        packed
    }
}
