//! From token ids to the first layer's input.

use candle_core::{Result, Tensor};

use super::config::{EncoderConfig, Places, Segments};
use super::layout::Layout;
use crate::arch::packed::PackedTexts;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Activation, Norm, add, add_bias};

/// Words, segments and places, as far as the family has them, summed and normalised.
#[derive(Debug)]
pub(crate) struct Embeddings {
    words: Tensor,
    segments: Option<Tensor>,
    places: Option<(Tensor, Places)>,
    norm: Norm,
    which: Segments,
}

impl Embeddings {
    pub(crate) fn load(
        root: &Scope<'_>,
        config: &EncoderConfig,
        layout: &Layout,
    ) -> std::result::Result<Self, ArchError> {
        let width = config.hidden_size;
        let table = |name: &str, rows: usize| root.sub(name).tensor("weight", [rows, width]);
        let segments = match config.segments {
            Segments::Absent => None,
            Segments::First(rows) | Segments::Given(rows) => Some(table(layout.segments, rows)?),
        };
        let places = match config.places {
            Some(places) => Some((table(layout.places, places.rows)?, places)),
            None => None,
        };
        Ok(Self {
            words: table(layout.words, config.vocab_size)?,
            segments,
            places,
            norm: root.layer_norm(layout.embedding_norm, width, config.norm_eps, config.biases.norm)?,
            which: config.segments,
        })
    }

    /// `[tokens, hidden]`.
    pub(crate) fn forward(&self, texts: &PackedTexts) -> Result<Tensor> {
        let mut xs = rows(&self.words, &texts.ids)?;
        if let Some(segments) = &self.segments {
            xs = self.with_segments(xs, segments, &texts.type_ids)?;
        }
        match &self.places {
            Some((table, places)) => self.norm.forward_add(xs, &rows(table, &places.of(texts))?),
            None => self.norm.forward(&xs),
        }
    }

    fn with_segments(&self, xs: Tensor, segments: &Tensor, ids: &[u32]) -> Result<Tensor> {
        // Only pairs of texts have a second segment, so this is nearly always one row for all.
        let first = if let Segments::Given(_) = self.which { ids[0] } else { 0 };
        if matches!(self.which, Segments::Given(_)) && ids.iter().any(|id| *id != first) {
            return add(xs, &rows(segments, ids)?);
        }
        add_bias(&xs, Some(&segments.get(first as usize)?), Activation::Identity)
    }
}

impl Places {
    /// Which row of the table each token gets.
    fn of(self, texts: &PackedTexts) -> Vec<u32> {
        let Some(padding) = self.padding else { return texts.positions.clone() };
        let mut places = Vec::with_capacity(texts.ids.len());
        for span in &texts.spans {
            let mut next = padding;
            places.extend(texts.ids[span.clone()].iter().map(|id| {
                // A padding token that stands in the text itself is not counted.
                next += u32::from(*id != padding);
                if *id == padding { padding } else { next }
            }));
        }
        places
    }
}

/// Some rows of a table: `[indices, width]`.
pub(crate) fn rows(table: &Tensor, indices: &[u32]) -> Result<Tensor> {
    table.index_select(&Tensor::new(indices, table.device())?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::EncodedText;

    #[test]
    fn padding_inside_a_text_is_not_counted() {
        let text =
            |ids: &[u32]| EncodedText { ids: ids.to_vec(), type_ids: vec![0; ids.len()], truncated: false };
        let texts = [text(&[0, 7, 1, 8, 2]), text(&[0, 2])];
        let packed = PackedTexts::new(&texts);
        let places = |padding| Places { rows: 16, padding }.of(&packed);
        assert_eq!(places(None), [0, 1, 2, 3, 4, 0, 1]);
        assert_eq!(places(Some(1)), [2, 3, 1, 4, 5, 2, 3]);
    }
}
