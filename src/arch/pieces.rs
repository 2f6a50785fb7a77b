//! What is computed together, and in what pieces, whatever is embedded.

/// How many tokens one pass computes at most for each thread, unless a single item has more.
///
/// A processor is as fast at some hundred rows as at some thousand, and a worker's memory, the wait of whoever
/// comes next and the time to cancel all grow with a pass: so it is no larger than it must be.
pub(super) const PASS_TOKENS: usize = 512;

/// How many tokens of a pass are computed in one piece, unless an item has more: enough rows for full speed, and
/// pieces enough for threads to share evenly.
pub(super) const PIECE_TOKENS: usize = 256;

/// Parts of `items` in their order, each of at most `most` tokens or of one item. None of no items.
pub(super) fn cut<T>(items: &[T], tokens: impl Fn(&T) -> usize, most: usize) -> Vec<&[T]> {
    let mut parts = Vec::new();
    let (mut start, mut sum) = (0, 0usize);
    for (index, item) in items.iter().enumerate() {
        sum = sum.saturating_add(tokens(item));
        if index > start && sum > most {
            parts.push(&items[start..index]);
            (start, sum) = (index, tokens(item));
        }
    }
    if start < items.len() {
        parts.push(&items[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_full_or_of_one_item_and_in_order() {
        let lengths = [3, 4, 9, 2, 2, 1, 7];
        let parts = cut(&lengths, |length| *length, 7);
        assert_eq!(parts, [&lengths[..2], &lengths[2..3], &lengths[3..6], &lengths[6..]]);
        assert!(cut(&[], |length: &usize| *length, 7).is_empty());
        assert_eq!(cut(&[usize::MAX; 2], |length| *length, 7).len(), 2);
    }
}
