//! Ending a text where a stop text begins, wherever tokens begin and end.

/// Looks for stop texts in a text that comes in pieces.
#[derive(Debug)]
pub(super) struct StopTexts {
    stops: Vec<Stop>,
    /// Text that has not been given out: it may be the beginning of a stop text.
    held: String,
}

/// What a piece adds to a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Text that is certain to be part of the answer.
    pub(crate) text: String,
    /// Whether a stop text has been met: nothing comes after it.
    pub(crate) stopped: bool,
}

/// One stop text and how much of it the text ends in (Knuth, Morris and Pratt, 1977): each byte costs the
/// same, however often the stop text repeats itself.
#[derive(Debug)]
struct Stop {
    text: Vec<u8>,
    /// For each length of beginning, the longest shorter one that it ends in.
    shorter: Vec<usize>,
    matched: usize,
}

impl StopTexts {
    pub(super) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).map(|stop| Stop::new(stop)).collect();
        Self { stops, held: String::new() }
    }

    /// Takes the next piece of the text. The stop text that ends first counts; of those that end together,
    /// the longest. It is not given out, and neither is what follows it.
    pub(super) fn push(&mut self, piece: &str) -> Piece {
        if self.stops.is_empty() {
            return Piece { text: piece.to_owned(), stopped: false };
        }
        for (place, byte) in piece.bytes().enumerate() {
            let met = self.stops.iter_mut().filter_map(|stop| stop.step(byte)).max();
            if let Some(length) = met {
                let end = self.held.len() + place + 1;
                let mut text = std::mem::take(&mut self.held);
                text.push_str(piece);
                text.truncate(end - length);
                return Piece { text, stopped: true };
            }
        }
        self.held.push_str(piece);
        let open = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - open);
        Piece { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// What was held back, when no more text comes.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

impl Stop {
    fn new(text: &str) -> Self {
        let text = text.as_bytes().to_vec();
        let mut shorter = vec![0; text.len() + 1];
        let mut length = 0;
        for end in 1..text.len() {
            while length > 0 && text[end] != text[length] {
                length = shorter[length];
            }
            length += usize::from(text[end] == text[length]);
            shorter[end + 1] = length;
        }
        Self { text, shorter, matched: 0 }
    }

    /// Takes one byte; gives the length of the stop text if it ends here.
    fn step(&mut self, byte: u8) -> Option<usize> {
        while self.matched > 0 && self.text[self.matched] != byte {
            self.matched = self.shorter[self.matched];
        }
        self.matched += usize::from(self.text[self.matched] == byte);
        (self.matched == self.text.len()).then_some(self.matched)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut matcher = StopTexts::new(&stops);
        let mut given = Vec::new();
        for piece in pieces {
            let Piece { text, stopped } = matcher.push(piece);
            given.push(text);
            if stopped {
                return (given, true);
            }
        }
        given.push(matcher.finish());
        (given, false)
    }

    #[test]
    fn beginnings_of_stop_texts_are_held_back() {
        assert_eq!(
            run(&["END"], &["a E", "N", "x", " EN"]),
            (["a ", "", "ENx", " ", "EN"].map(str::to_owned).into(), false)
        );
        assert_eq!(run(&["END"], &["a E", "ND b"]), (["a ", ""].map(str::to_owned).into(), true));
        assert_eq!(run(&[], &["a", "b"]), (["a", "b", ""].map(str::to_owned).into(), false));
    }

    #[test]
    fn the_first_to_end_counts_and_of_equals_the_longest() {
        assert_eq!(run(&["abcd", "bc"], &["xabcd"]), (["xa"].map(str::to_owned).into(), true));
        assert_eq!(run(&["bc", "abc"], &["xabc"]), (["x"].map(str::to_owned).into(), true));
        assert_eq!(run(&["aab"], &["aaa", "ab"]), (["a", "a"].map(str::to_owned).into(), true));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_pieces_end(
            text in "[abé]{0,40}",
            stops in prop::collection::vec("[abé]{1,5}", 0..4),
            cuts in prop::collection::vec(any::<bool>(), 80),
        ) {
            let ends = text.char_indices().map(|(place, c)| (place, place + c.len_utf8()));
            // The first place where one ends, and there the longest.
            let met = ends.clone().find_map(|(_, end)| {
                let length = stops.iter().filter(|stop| text[..end].ends_with(*stop)).map(String::len).max()?;
                Some(end - length)
            });
            let mut matcher = StopTexts::new(&stops);
            let (mut given, mut from, mut stopped) = (String::new(), 0, false);
            for ((_, end), cut) in ends.zip(cuts) {
                if cut || end == text.len() {
                    let piece = matcher.push(&text[from..end]);
                    from = end;
                    given.push_str(&piece.text);
                    prop_assert!(met.unwrap_or(text.len()) >= given.len(), "no part of a stop text is given out");
                    if piece.stopped {
                        stopped = true;
                        break;
                    }
                }
            }
            if !stopped {
                given.push_str(&matcher.finish());
            }
            prop_assert_eq!(stopped, met.is_some());
            prop_assert_eq!(given, &text[..met.unwrap_or(text.len())]);
        }
    }
}
