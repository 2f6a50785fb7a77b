//! Names and sizes that every layer shares.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name under which a pool knows a model: one key, one lane.
///
/// Cheap to clone. Any text is a key; pools give it no meaning beyond equality.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistryKey(Arc<str>);

impl RegistryKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for RegistryKey {
    fn from(name: &T) -> Self {
        Self(Arc::from(name.as_ref()))
    }
}

impl From<String> for RegistryKey {
    fn from(name: String) -> Self {
        Self(Arc::from(name))
    }
}

impl Borrow<str> for RegistryKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for RegistryKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// One worker of one pool, unique within the pool for the pool's lifetime and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker-{}", self.0)
    }
}

/// One accepted request: a number unique within its pool, and the caller's own name for it, if given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// Counts up from 1 in the order of submission.
    pub number: u64,
    /// What the caller called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.pad(name),
            None => write!(f, "job-{}", self.number),
        }
    }
}

/// A conversation whose requests profit from meeting the same worker again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// The session's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for SessionId {
    fn from(name: &T) -> Self {
        Self(Arc::from(name.as_ref()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A number of bytes. All arithmetic saturates.
///
/// ```
/// use millpond::ByteSize;
/// assert_eq!(ByteSize::gib(2).to_string(), "2.0 GiB");
/// assert_eq!("1.5 MiB".parse::<ByteSize>().unwrap().bytes(), 1_572_864);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(u64);

impl ByteSize {
    /// No bytes.
    pub const ZERO: Self = Self(0);
    /// The largest size there is; as a limit it means "no limit".
    pub const MAX: Self = Self(u64::MAX);

    /// `n` bytes.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// `n` x 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 10))
    }

    /// `n` x 1024 x 1024 bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// `n` x 1024 x 1024 x 1024 bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 30))
    }

    /// The size as a number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The sum, or [`ByteSize::MAX`] where it would not fit.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero where it would be negative.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The product, or [`ByteSize::MAX`] where it would not fit.
    #[must_use]
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// This share of the size; `share` is held to 0..=1.
    #[must_use]
    pub fn fraction(self, share: f64) -> Self {
        if share >= 1.0 { self } else { Self((self.0 as f64 * share.max(0.0)) as u64) }
    }
}

/// How the largest size reads.
const UNLIMITED: &str = "unlimited";

impl std::iter::Sum for ByteSize {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX {
            return f.write_str(UNLIMITED);
        }
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.iter().find(|(_, shift)| self.0 >= 1 << shift) {
            Some((unit, shift)) => write!(f, "{:.1} {unit}", self.0 as f64 / f64::from(1 << shift)),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`ByteSize`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size: write a number and a unit, such as 512 MiB, 4GiB or 1048576")]
pub struct ParseByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseByteSizeError(text.to_owned());
        let trimmed = text.trim();
        if trimmed == UNLIMITED {
            return Ok(Self::MAX);
        }
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => return Err(error()),
        };
        // Whole numbers exactly: a fraction has 53 bits of precision and a size has 64.
        if let Ok(whole) = number.parse::<u64>() {
            return Ok(Self(whole.saturating_mul(1 << shift)));
        }
        let number: f64 = number.parse().map_err(|_| error())?;
        Ok(Self((number * (1u64 << shift) as f64) as u64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::prop_assert_eq;
    use proptest::prop_assert;
    use proptest::test_runner::Config;

    use super::*;

    #[test]
    fn sizes_read_back_what_they_print() {
        for size in [ByteSize::ZERO, ByteSize::new(1023), ByteSize::kib(3), ByteSize::gib(9), ByteSize::MAX] {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert!("12 parsecs".parse::<ByteSize>().is_err());
        assert!("".parse::<ByteSize>().is_err());
    }

    #[test]
    fn sizes_saturate() {
        assert_eq!(ByteSize::MAX.saturating_add(ByteSize::new(1)), ByteSize::MAX);
        assert_eq!(ByteSize::new(1).saturating_sub(ByteSize::new(2)), ByteSize::ZERO);
        assert_eq!(ByteSize::gib(u64::MAX), ByteSize::MAX);
        assert_eq!(ByteSize::new(100).fraction(0.8), ByteSize::new(80));
        assert_eq!(ByteSize::new(100).fraction(-1.0), ByteSize::ZERO);
    }

    proptest::proptest! {
        #![proptest_config(Config { cases: 500, failure_persistence: None, ..Config::default() })]

        #[test]
        fn no_text_is_too_strange_to_be_read_as_a_size(text in "\\PC*", number in "[0-9.]{0,40}", unit in " ?[KkMmGgTt]?(ib|iB|b)?") {
            let _ = text.parse::<ByteSize>();
            let _ = format!("{number}{unit}").parse::<ByteSize>();
        }

        #[test]
        fn whole_numbers_are_read_exactly(n: u64, small in 0u64..1 << 24) {
            prop_assert_eq!(n.to_string().parse(), Ok(ByteSize::new(n)));
            prop_assert_eq!(format!("{small} GiB").parse(), Ok(ByteSize::gib(small)));
            prop_assert_eq!(format!("{n}k").parse(), Ok(ByteSize::kib(n)));
        }

        #[test]
        fn what_is_printed_is_read_back_to_one_decimal(n: u64, shift in 0u32..64) {
            let size = ByteSize::new(n >> shift);
            let read: ByteSize = size.to_string().parse().expect("it prints what it reads");
            prop_assert!(read.bytes().abs_diff(size.bytes()) <= size.bytes() / 20, "{size} became {read}");
        }

        #[test]
        fn sums_saturate_and_order_does_not_matter(a: u64, b: u64, c: u64) {
            let [x, y, z] = [a, b, c].map(ByteSize::new);
            let sum: ByteSize = [x, y, z].into_iter().sum();
            prop_assert_eq!(sum, [z, x, y].into_iter().sum());
            let exact = u128::from(a) + u128::from(b) + u128::from(c);
            prop_assert_eq!(u128::from(sum.bytes()), exact.min(u128::from(u64::MAX)));
            prop_assert_eq!(x.saturating_sub(y).saturating_add(y), x.max(y));
        }

        #[test]
        fn any_text_is_a_key_and_survives_writing(text in "\\PC*") {
            let key = RegistryKey::from(&text);
            prop_assert_eq!(key.as_str(), &text);
            let written = serde_json::to_string(&key).expect("text");
            prop_assert_eq!(serde_json::from_str::<RegistryKey>(&written).expect("a key"), key);
        }
    }

    #[test]
    fn a_job_is_called_by_its_name() {
        let job = JobId { number: 7, name: Some("audit".into()) };
        assert_eq!(job.to_string(), "audit");
        assert_eq!(JobId { name: None, ..job }.to_string(), "job-7");
    }
}
