//! Texts, one per line of standard input.

use std::io::{BufRead, Read, stdin};
use std::thread::Builder;

use crossbeam_channel::{Receiver, bounded};

use super::failure::Failure;
use crate::id::ByteSize;

/// No line is longer. A model's longest text is a fraction of that, so what is longer is no text file.
const MAX_LINE: u64 = 16 << 20;

/// How many lines are read before anyone wants them.
const READ_AHEAD: usize = 4;

/// Reads standard input on a thread of its own, so that waiting for a line keeps nobody from working. The
/// channel ends after the last line or the first error.
pub(super) fn read_stdin() -> Result<Receiver<Result<String, Failure>>, Failure> {
    let (sender, lines) = bounded(READ_AHEAD);
    let read = move || {
        let mut input = stdin().lock();
        for line in 1.. {
            let Some(text) = next_line(&mut input, line).transpose() else { return };
            let ended = text.is_err();
            if sender.send(text).is_err() || ended {
                return;
            }
        }
    };
    Builder::new().name("stdin".to_owned()).spawn(read).map_err(Failure::Thread)?;
    Ok(lines)
}

/// The next line without its end; `None` when there is no more.
fn next_line(input: &mut impl BufRead, line: usize) -> Result<Option<String>, Failure> {
    let mut bytes = Vec::new();
    input.take(MAX_LINE + 1).read_until(b'\n', &mut bytes).map_err(Failure::Input)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() as u64 > MAX_LINE && !bytes.ends_with(b"\n") {
        return Err(Failure::LineTooLong { line, limit: ByteSize::new(MAX_LINE) });
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        bytes.truncate(bytes.len() - usize::from(bytes.ends_with(b"\r")));
    }
    let not_utf8 = |error: std::string::FromUtf8Error| Failure::NotUtf8 {
        line,
        byte: error.utf8_error().valid_up_to() + 1,
    };
    String::from_utf8(bytes).map(Some).map_err(not_utf8)
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, repeat};

    use super::*;

    fn lines(mut input: &[u8]) -> Vec<Result<String, Failure>> {
        std::iter::from_fn(|| next_line(&mut input, 1).transpose()).collect()
    }

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        let got: Vec<_> = lines(b"one\r\n\n two \nlast").into_iter().map(Result::unwrap).collect();
        assert_eq!(got, ["one", "", " two ", "last"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn what_is_no_text_is_refused_where_it_stands() {
        assert!(matches!(lines(b"ab\xffc\n")[0], Err(Failure::NotUtf8 { line: 1, byte: 3 })));
        let endless = next_line(&mut BufReader::new(repeat(b'x')), 7);
        assert!(matches!(endless, Err(Failure::LineTooLong { line: 7, .. })));
    }

    #[test]
    fn the_longest_line_is_a_line() {
        let mut input = BufReader::new(repeat(b'x').take(MAX_LINE).chain(&b"\nnext"[..]));
        assert_eq!(next_line(&mut input, 1).unwrap().map(|line| line.len() as u64), Some(MAX_LINE));
        assert_eq!(next_line(&mut input, 2).unwrap().as_deref(), Some("next"));
    }
}
