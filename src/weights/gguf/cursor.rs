//! Reading forward through the part of a file that can lie.

use std::io::Read;

use super::error::GgufFlaw;

/// How far into a file its description may reach. Vocabularies are large: 256,000 tokens take 10 MiB.
pub const MAX_DESCRIPTION_BYTES: u64 = 256 * 1024 * 1024;

/// Where reading is, and how far it may go. No count is believed beyond what the file has left.
pub(super) struct Cursor<R> {
    reader: R,
    at: u64,
    len: u64,
}

impl<R: Read> Cursor<R> {
    /// At the start of a file of `len` bytes.
    pub(super) fn new(reader: R, len: u64) -> Self {
        Self { reader, at: 0, len }
    }

    /// How many bytes are behind.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    /// Whether `needs` more bytes of `what` can be there.
    fn check(&self, what: &'static str, needs: u64) -> Result<(), GgufFlaw> {
        let room = self.len - self.at;
        if needs > room {
            return Err(GgufFlaw::Truncated { what, needs, room });
        }
        if needs > MAX_DESCRIPTION_BYTES.saturating_sub(self.at) {
            return Err(GgufFlaw::DescriptionTooLong { limit: MAX_DESCRIPTION_BYTES });
        }
        Ok(())
    }

    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, what: &'static str, count: u64) -> Result<Vec<u8>, GgufFlaw> {
        self.check(what, count)?;
        let mut bytes = Vec::with_capacity(count as usize);
        self.reader.by_ref().take(count).read_to_end(&mut bytes)?;
        self.advance(what, count, bytes.len() as u64)?;
        Ok(bytes)
    }

    fn advance(&mut self, what: &'static str, needs: u64, room: u64) -> Result<(), GgufFlaw> {
        if room < needs {
            // The file is shorter than the system said.
            return Err(GgufFlaw::Truncated { what, needs, room });
        }
        self.at += needs;
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufFlaw> {
        self.check(what, N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// The next four bytes as a number.
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufFlaw> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// The next eight bytes as a number.
    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufFlaw> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// The next number, which says how many `what` follow, each of at least `least` bytes.
    pub(super) fn count(&mut self, what: &'static str, least: u64) -> Result<u64, GgufFlaw> {
        let count = self.u64(what)?;
        self.check(what, count.saturating_mul(least))?;
        Ok(count)
    }

    /// The next text: its length, then its bytes.
    pub(super) fn text(&mut self, what: &'static str) -> Result<String, GgufFlaw> {
        let count = self.count(what, 1)?;
        String::from_utf8(self.bytes(what, count)?).map_err(|_| GgufFlaw::NotUtf8 { what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut cursor = Cursor::new(&[1u8, 0, 0, 0, 9][..], 5);
        assert_eq!(cursor.u32("a number").unwrap(), 1);
        assert!(matches!(cursor.u32("a number"), Err(GgufFlaw::Truncated { needs: 4, room: 1, .. })));
        assert_eq!(cursor.bytes("the rest", 1).unwrap(), [9]);
        assert_eq!(cursor.position(), 5);
    }

    #[test]
    fn a_file_that_shrinks_is_noticed() {
        let mut cursor = Cursor::new(&[1u8, 2][..], 1000);
        assert!(matches!(cursor.bytes("a text", 100), Err(GgufFlaw::Truncated { needs: 100, room: 2, .. })));
    }

    #[test]
    fn a_count_is_believed_as_far_as_the_file_goes() {
        let bytes = [u64::MAX.to_le_bytes(), 3u64.to_le_bytes()].concat();
        let mut cursor = Cursor::new(&bytes[..], 40);
        assert!(matches!(cursor.count("entries", 8), Err(GgufFlaw::Truncated { needs: u64::MAX, .. })));
        assert_eq!(cursor.count("entries", 8).unwrap(), 3);
        let mut endless = Cursor::new(std::io::repeat(1), 1 << 40);
        assert!(matches!(endless.text("a text"), Err(GgufFlaw::Truncated { .. })));
        let length = (1u64 << 38).to_le_bytes();
        let mut large = Cursor::new(&length[..], 1 << 40);
        assert!(matches!(large.text("a text"), Err(GgufFlaw::DescriptionTooLong { .. })));
    }
}
