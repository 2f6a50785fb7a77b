//! Where JSON ends that is still being written.

/// Finds the end of an array or object, looking at each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JsonSpan {
    seen: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl JsonSpan {
    /// Where the array or object that `text` begins with ends, if it does. At each look `text` is what it was at the
    /// last, and maybe more.
    pub(super) fn end(&mut self, text: &str) -> Option<usize> {
        for byte in &text.as_bytes()[self.seen..] {
            self.seen += 1;
            match (self.quoted, self.escaped, byte) {
                (true, true, _) => self.escaped = false,
                (true, false, b'\\') => self.escaped = true,
                (_, false, b'"') => self.quoted = !self.quoted,
                (false, _, b'[' | b'{') => self.depth += 1,
                (false, _, b']' | b'}') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.seen);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_in_whatever_pieces_the_text_comes() {
        let text = r#"{"a": "}]\"\\", "é": [{}, [1]]} and more}"#;
        let whole = JsonSpan::default().end(text).unwrap();
        assert_eq!(&text[..whole], r#"{"a": "}]\"\\", "é": [{}, [1]]}"#);
        let mut span = JsonSpan::default();
        let ends = text.char_indices().map(|(at, _)| &text[..at]).find_map(|part| span.end(part));
        assert_eq!(ends, Some(whole));
        assert_eq!(JsonSpan::default().end(r#"{"a": ["#), None);
    }
}
