//! SHA-256: by what a file of weights is known again.

use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::str::FromStr;

use sha2::Digest as _;

const BUFFER: usize = 128 * 1024;

/// The SHA-256 of a file, as `sha256sum` prints it and hubs name large files by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

/// A text that is no [`Sha256`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 is 64 hexadecimal digits")]
pub struct NoSha256;

impl Sha256 {
    /// That of the file at `path`, which is read from end to end.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?)
    }

    /// That of all that `reader` gives.
    fn of(mut reader: impl Read) -> io::Result<Self> {
        let mut digest = sha2::Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Self(digest.finalize().into())),
                Ok(n) => digest.update(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.iter().try_fold(String::with_capacity(64), |mut digits, byte| {
            write!(digits, "{byte:02x}").map(|()| digits)
        });
        f.pad(&digits?)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = NoSha256;

    fn from_str(text: &str) -> Result<Self, NoSha256> {
        let digits = <&[u8; 64]>::try_from(text.as_bytes()).map_err(|_| NoSha256)?;
        let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8).ok_or(NoSha256);
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn it_is_the_one_that_everybody_computes() {
        assert_eq!(Sha256::of(&b"abc"[..]).unwrap().to_string(), OF_ABC);
        assert_eq!(OF_ABC.to_uppercase().parse(), Ok(Sha256::of(&b"abc"[..]).unwrap()));
        for wrong in ["", "ba78", &OF_ABC[1..], &format!("{OF_ABC}0"), &OF_ABC.replace('b', "g")] {
            assert_eq!(wrong.parse::<Sha256>(), Err(NoSha256), "{wrong}");
        }
    }
}
