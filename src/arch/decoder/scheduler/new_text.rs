//! What a text brings with it.

use std::ops::Range;

/// A prompt, and how it differs from one that is read from left to right.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewText {
    pub(crate) tokens: Vec<u32>,
    /// Tokens that see each other, whichever comes first: in order, apart from each other. Each is read in one step.
    pub(crate) together: Vec<Range<usize>>,
    /// Texts share their beginnings only with those of the same number.
    pub(crate) apart: u64,
    /// Where tokens are, if that is not told by their order.
    pub(crate) places: Option<Places>,
}

/// Where a token is: when, how far down, how far across.
pub(crate) type Place = [u32; 3];

/// Where the tokens of a text are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// Those of the prompt's tokens.
    pub(crate) prompt: Vec<Place>,
    /// That of the first token after the prompt, three times the same; those after it follow one by one.
    pub(crate) next: u32,
}

impl From<Vec<u32>> for NewText {
    fn from(tokens: Vec<u32>) -> Self {
        Self { tokens, ..Self::default() }
    }
}

impl NewText {
    /// How many tokens are read after `from`, where `tokens` would be: tokens that see each other are not parted.
    pub(super) fn uncut(together: &[Range<usize>], from: usize, tokens: usize) -> usize {
        let end = from + tokens;
        match together.iter().find(|span| span.start < end && end < span.end) {
            Some(span) if span.start > from => span.start - from,
            Some(span) => span.end - from,
            None => tokens,
        }
    }
}

impl Places {
    /// Those of `tokens` tokens from the `first` on.
    pub(crate) fn of(&self, first: usize, tokens: usize) -> Vec<Place> {
        let after = |at: usize| [self.next.saturating_add((at - self.prompt.len()) as u32); 3];
        (first..first + tokens).map(|at| self.prompt.get(at).copied().unwrap_or_else(|| after(at))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_see_each_other_are_read_at_once() {
        let uncut = |from, tokens| NewText::uncut(&[4..8, 10..12], from, tokens);
        assert_eq!([uncut(0, 3), uncut(0, 4), uncut(0, 5), uncut(0, 8), uncut(0, 11)], [3, 4, 4, 8, 10]);
        assert_eq!([uncut(4, 1), uncut(5, 1), uncut(9, 1), uncut(10, 1), uncut(12, 1)], [4, 3, 1, 2, 1]);
    }

    #[test]
    fn places_go_on_after_the_prompt() {
        let places = Places { prompt: vec![[0, 0, 0], [1, 1, 2]], next: 3 };
        assert_eq!(places.of(1, 3), [[1, 1, 2], [3; 3], [4; 3]]);
    }
}
