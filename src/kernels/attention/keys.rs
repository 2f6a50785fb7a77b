//! Keys and values as products read them.

use super::packed::HeadOfText;

/// The keys and values that queries are set against, kept from text to text.
#[derive(Default)]
pub(super) struct PackedKeys {
    /// Panels of keys, each `[head size, panel width]`.
    pub(super) keys: Vec<f32>,
    /// Panels of the values' columns, each `[tokens, panel width]`.
    pub(super) values: Vec<f32>,
}

impl PackedKeys {
    /// Takes those of a head of a text, for panels of this width.
    pub(super) fn pack(&mut self, text: &HeadOfText<'_>, width: usize) {
        let (tokens, size) = (text.span.keys.len(), text.head_size);
        self.keys.clear();
        self.keys.resize(tokens.next_multiple_of(width) * size, 0.0);
        self.values.clear();
        self.values.resize(size.next_multiple_of(width) * tokens, 0.0);
        for token in 0..tokens {
            let column = &mut self.keys[token / width * width * size + token % width..];
            for (slot, x) in column.iter_mut().step_by(width).zip(text.row(text.parts.keys, token)) {
                *slot = *x;
            }
            for (panel, part) in text.row(text.parts.values, token).chunks(width).enumerate() {
                self.values[(panel * tokens + token) * width..][..part.len()].copy_from_slice(part);
            }
        }
    }
}
