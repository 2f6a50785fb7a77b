//! What time it is, for templates that put the date into a system prompt.

use minijinja::{Error, ErrorKind};

/// The longest format there is room for.
const MAX_FORMAT_BYTES: usize = 256;

/// A time as a clock on a wall shows it. Handed in by whoever has a clock: rendering reads none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CivilTime {
    year: i64,
    /// From 1.
    month: usize,
    /// From 1.
    day: usize,
    hour: usize,
    minute: usize,
    second: usize,
    /// Days since a Sunday, 0 to 6.
    weekday: usize,
    /// Days since the first of January.
    day_of_year: usize,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const SECONDS_PER_DAY: i64 = 86_400;

impl CivilTime {
    /// The time in UTC, `seconds` after 1970 began. Add the offset of another zone to get its time.
    pub(crate) fn from_unix(seconds: i64) -> Self {
        // Far enough for any clock, and near enough for the arithmetic below.
        let seconds = seconds.clamp(-(1 << 40), 1 << 40);
        let (days, second) =
            (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY) as usize);
        let (mut year, mut day) = (1970 + days.div_euclid(146_097) * 400, days.rem_euclid(146_097));
        while day >= days_of_year(year) {
            day -= days_of_year(year);
            year += 1;
        }
        let (day_of_year, mut month, mut day) = (day as usize, 0, day as usize);
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        Self {
            year,
            month: month + 1,
            day: day + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            weekday: (days + 4).rem_euclid(7) as usize,
            day_of_year,
        }
    }

    /// As C's `strftime` writes it, with what of it Python documents, in English.
    pub(super) fn format(&self, format: &str) -> Result<String, Error> {
        if format.len() > MAX_FORMAT_BYTES {
            return Err(Error::new(ErrorKind::InvalidOperation, "the format of a time is too long"));
        }
        let mut text = String::new();
        let mut rest = format.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let (unpadded, directive) = match rest.next() {
                Some('-') => (true, rest.next()),
                directive => (false, directive),
            };
            let written = directive.and_then(|directive| self.directive(directive));
            let unknown =
                || Error::new(ErrorKind::InvalidOperation, "the format of a time is not known here");
            let written = written.ok_or_else(unknown)?;
            let short = written.trim_start_matches('0');
            text.push_str(match (unpadded, short) {
                (false, _) => &written,
                (true, "") => "0",
                (true, short) => short,
            });
        }
        Ok(text)
    }

    fn directive(&self, directive: char) -> Option<String> {
        let (month, day) = (MONTHS[self.month - 1], DAYS[self.weekday]);
        let hour = if self.hour.is_multiple_of(12) { 12 } else { self.hour % 12 };
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'm' => format!("{:02}", self.month),
            'B' => month.to_owned(),
            'b' | 'h' => month[..3].to_owned(),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year + 1),
            'A' => day.to_owned(),
            'a' => day[..3].to_owned(),
            'w' => self.weekday.to_string(),
            'u' => (if self.weekday == 0 { 7 } else { self.weekday }).to_string(),
            'H' => format!("{:02}", self.hour),
            'I' => format!("{hour:02}"),
            'M' => format!("{:02}", self.minute),
            'S' => format!("{:02}", self.second),
            'p' => (if self.hour < 12 { "AM" } else { "PM" }).to_owned(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

/// `month` counts from 0.
fn days_of_month(year: i64, month: usize) -> usize {
    match month {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_python_writes_them() {
        let table = [
            (0, "Thursday 01 January 1970 00:00:00 AM 12 001 4 70"),
            (951_827_696, "Tuesday 29 February 2000 12:34:56 PM 12 060 2 00"),
            (1_732_752_000, "Thursday 28 November 2024 00:00:00 AM 12 333 4 24"),
            (-1, "Wednesday 31 December 1969 23:59:59 PM 11 365 3 69"),
            (4_107_542_399, "Sunday 28 February 2100 23:59:59 PM 11 059 0 00"),
        ];
        for (seconds, expected) in table {
            let time = CivilTime::from_unix(seconds);
            assert_eq!(time.format("%A %d %B %Y %T %p %I %j %w %y").unwrap(), expected);
        }
        let time = CivilTime::from_unix(951_827_696 + 9 * SECONDS_PER_DAY);
        assert_eq!(time.format("%-d %b %e %a %F %-m 100%%").unwrap(), "9 Mar  9 Thu 2000-03-09 3 100%");
    }

    #[test]
    fn odd_formats_and_times_are_errors_or_answers() {
        let time = CivilTime::from_unix(0);
        for format in ["%", "%-", "%Q", &"%A".repeat(1_000)] {
            assert!(time.format(format).is_err(), "{format}");
        }
        for seconds in [i64::MIN, i64::MAX] {
            CivilTime::from_unix(seconds).format("%F %T %j").unwrap();
        }
    }
}
