//! By how much queries and keys are turned before they meet.

/// By how much each token of a step is turned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Angles {
    /// `[tokens, pairs]`
    cosines: Vec<f32>,
    /// `[tokens, pairs]`
    sines: Vec<f32>,
    pairs: usize,
}

impl Angles {
    /// For tokens that are turned by `pairs` frequencies each.
    pub(crate) fn new(pairs: usize) -> Self {
        Self { pairs, ..Self::default() }
    }

    /// One more token, at `position`; `frequencies` are radians per position. Sines and cosines are multiplied
    /// by `scale`.
    pub(crate) fn push(&mut self, position: usize, frequencies: &[f32], scale: f32) {
        for frequency in frequencies {
            let (sine, cosine) = (position as f32 * frequency).sin_cos();
            self.sines.push(sine * scale);
            self.cosines.push(cosine * scale);
        }
    }

    /// One more token, whose place has three parts: as many pairs as `sections` says are turned by each of them, in
    /// order.
    pub(crate) fn push_place(
        &mut self,
        place: [u32; 3],
        sections: [usize; 3],
        frequencies: &[f32],
        scale: f32,
    ) {
        let mut rest = frequencies;
        for (part, pairs) in place.into_iter().zip(sections) {
            let (own, others) = rest.split_at(pairs.min(rest.len()));
            rest = others;
            self.push(part as usize, own, scale);
        }
    }

    pub(super) fn fit(&self, tokens: usize, head_size: usize) -> bool {
        2 * self.pairs <= head_size
            && self.cosines.len() == tokens * self.pairs
            && self.sines.len() == self.cosines.len()
    }

    /// Cosines and sines of a token.
    pub(super) fn of(&self, token: usize) -> (&[f32], &[f32]) {
        let range = token * self.pairs..(token + 1) * self.pairs;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}
