//! Points in time as texts.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, which is written as RFC 3339 has it, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(Duration);

/// What stands for "never": in a hundred years.
const NEVER: Duration = Duration::from_hours(100 * 365 * 24);

impl Moment {
    /// Now.
    pub(super) fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// So long ago.
    pub(super) fn before_now(time: Duration) -> Self {
        Self(Self::now().0.saturating_sub(time))
    }

    /// So long after 1970 began.
    pub(super) fn since_1970(time: Duration) -> Self {
        Self(time.min(NEVER * 4))
    }

    /// So long after this one; what lies too far off is a hundred years off.
    pub(super) fn after(self, wait: Duration) -> Self {
        Self(self.0 + wait.min(NEVER))
    }

    /// Year, month and day. The year of this arithmetic begins in March, so that a leap day is its last.
    fn date(self) -> (u64, u64, u64) {
        let days = self.0.as_secs() / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (year, month, day) = (era * 400 + year, month, day - (153 * month + 2) / 5 + 1);
        if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let (seconds, micros) = (self.0.as_secs() % 86_400, self.0.subsec_micros());
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl serde::Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_calendars_have_them() {
        let written =
            |seconds, micros: u32| Moment::since_1970(Duration::new(seconds, micros * 1000)).to_string();
        assert_eq!(written(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(written(951_782_399, 5), "2000-02-28T23:59:59.000005Z");
        assert_eq!(written(951_782_400, 0), "2000-02-29T00:00:00.000000Z");
        assert_eq!(written(951_868_800, 0), "2000-03-01T00:00:00.000000Z");
        assert_eq!(written(1_795_824_000, 0), "2026-11-28T00:00:00.000000Z");
        assert_eq!(written(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
        assert_eq!(written(1_798_761_599, 0), "2026-12-31T23:59:59.000000Z");
    }

    #[test]
    fn never_is_far_off_and_no_overflow() {
        let now = Moment::since_1970(Duration::from_hours(498_840));
        assert!(now.after(Duration::MAX).to_string().starts_with("2126-"));
        assert!(Moment::since_1970(Duration::MAX).to_string().starts_with("23"));
    }
}
