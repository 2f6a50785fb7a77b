//! Who may call.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The keys that open the server; with none it is open to whoever reaches it.
///
/// Only digests are kept, and comparing takes the same time whatever a guess shares with a key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKeys(Vec<[u8; 32]>);

/// A key that anybody could guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key has {bytes} bytes; it needs at least {} and no spaces", ApiKeys::SHORTEST)]
pub struct WeakKey {
    /// How long it is.
    pub bytes: usize,
}

impl ApiKeys {
    /// The fewest bytes of a key.
    pub const SHORTEST: usize = 8;

    /// Each of these keys opens the server.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, WeakKey> {
        let digests = keys.into_iter().map(|key| {
            let strong = key.len() >= Self::SHORTEST && key.bytes().all(|byte| byte.is_ascii_graphic());
            strong.then(|| digest(key)).ok_or(WeakKey { bytes: key.len() })
        });
        Ok(Self(digests.collect::<Result<_, _>>()?))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `guess` is one of them.
    pub fn accept(&self, guess: &str) -> bool {
        let guess = digest(guess);
        let found = self.0.iter().fold(Choice::from(0), |found, key| found | key.ct_eq(&guess));
        found.into()
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_and_nothing_like_it_does() {
        let keys = ApiKeys::new(["first-key-1234", "second-key-5678"]).unwrap();
        assert!(keys.accept("first-key-1234") && keys.accept("second-key-5678"));
        for wrong in ["", "first-key-1235", "first-key-123", "first-key-1234 ", "FIRST-KEY-1234"] {
            assert!(!keys.accept(wrong), "{wrong:?}");
        }
        assert!(!ApiKeys::default().accept(""));
    }

    #[test]
    fn weak_keys_are_refused_and_none_is_shown() {
        assert_eq!(ApiKeys::new(["short"]).unwrap_err(), WeakKey { bytes: 5 });
        assert_eq!(ApiKeys::new(["with a space in it"]).unwrap_err(), WeakKey { bytes: 18 });
        assert_eq!(format!("{:?}", ApiKeys::new(["first-key-1234"]).unwrap()), "ApiKeys(1)");
    }
}
