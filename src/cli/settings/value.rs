//! What a setting may hold, and how people write it.

use std::fmt;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use toml::de::DeValue;

use crate::id::ByteSize;

/// A time without an end, as people write it.
const FOREVER: &str = "forever";

/// No list holds more.
const MOST_ITEMS: usize = 256;

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) enum Kind {
    /// Any text that is not empty.
    Text,
    /// Several texts: in a file a list, elsewhere with commas in between.
    Texts,
    /// An IP address.
    Address,
    /// `true` or `false`.
    Switch,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// Bytes.
    Size,
    /// A time.
    Time,
    /// More than 0 and at most 1.
    Share,
    /// A number above 0.
    Rate,
    /// One of these names.
    Choice(&'static [&'static str]),
}

/// What a setting holds.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) enum Value {
    Text(String),
    Texts(Vec<String>),
    Switch(bool),
    Number(u64),
    Real(f64),
    Size(ByteSize),
    Time(Duration),
}

impl Kind {
    /// What one may write, in words.
    pub(in crate::cli) fn expected(self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Texts => "texts: [\"..\", \"..\"] in a file, commas in between elsewhere".to_owned(),
            Self::Address => "an IP address such as 127.0.0.1, 0.0.0.0 or ::1".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Number(least, u64::MAX) => format!("a whole number from {least}"),
            Self::Number(least, most) => format!("a whole number from {least} to {most}"),
            Self::Size => "a size such as 512MiB or 4GiB".to_owned(),
            Self::Time => format!("a time such as 500ms, 30s, 5m, 1h or {FOREVER}; a number is seconds"),
            Self::Share => "a number above 0 and at most 1, such as 0.8".to_owned(),
            Self::Rate => "a number above 0".to_owned(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
        }
    }

    /// How help calls what is to be written.
    pub(in crate::cli) fn placeholder(self) -> &'static str {
        match self {
            Self::Text | Self::Texts => "TEXT",
            Self::Address => "ADDRESS",
            Self::Switch => "true|false",
            Self::Number(..) | Self::Rate => "N",
            Self::Size => "SIZE",
            Self::Time => "TIME",
            Self::Share => "SHARE",
            Self::Choice(_) => "NAME",
        }
    }

    /// What a flag or a variable says; `None` for what cannot be meant.
    pub(in crate::cli) fn of_text(self, text: &str) -> Option<Value> {
        let text = text.trim();
        Some(match self {
            Self::Text => Value::Text(Some(text).filter(|text| is_plain(text))?.to_owned()),
            Self::Texts => texts(text.split(',').map(str::trim).filter(|item| !item.is_empty()))?,
            Self::Address => Value::Text(text.parse::<IpAddr>().ok()?.to_string()),
            Self::Switch => Value::Switch(match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true,
                "false" | "0" | "no" | "off" => false,
                _ => return None,
            }),
            Self::Number(least, most) => {
                Value::Number(text.parse().ok().filter(|number| (least..=most).contains(number))?)
            }
            Self::Size => Value::Size(size(text)?),
            Self::Time => Value::Time(time(text)?),
            Self::Share => Value::Real(real(text).filter(|share| *share <= 1.0)?),
            Self::Rate => Value::Real(real(text)?),
            Self::Choice(names) => Value::Text((*names.iter().find(|name| **name == text)?).to_owned()),
        })
    }

    /// What a file says.
    pub(super) fn of_toml(self, written: &DeValue<'_>) -> Option<Value> {
        match (self, written) {
            (Self::Texts, DeValue::Array(items)) => {
                let items: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
                texts(items?.into_iter())
            }
            (Self::Texts, DeValue::String(text)) => texts(std::iter::once(&**text)),
            (Self::Switch, DeValue::Boolean(on)) => Some(Value::Switch(*on)),
            (Self::Switch, _) => None,
            (
                Self::Text | Self::Choice(_) | Self::Address | Self::Size | Self::Time,
                DeValue::String(text),
            ) => self.of_text(text),
            (
                Self::Number(..) | Self::Size | Self::Time | Self::Rate | Self::Share,
                DeValue::Integer(number),
            ) => {
                // Decimal digits or nothing: 0x10 seconds is a slip.
                Some(number)
                    .filter(|number| number.radix() == 10)
                    .and_then(|number| self.of_text(number.as_str()))
            }
            (Self::Time | Self::Rate | Self::Share, DeValue::Float(number)) => self.of_text(number.as_str()),
            _ => None,
        }
    }
}

fn texts<'a>(items: impl Iterator<Item = &'a str>) -> Option<Value> {
    let items: Vec<String> = items.map(str::to_owned).collect();
    let fine = !items.is_empty() && items.len() <= MOST_ITEMS && items.iter().all(|item| is_plain(item));
    fine.then_some(Value::Texts(items))
}

/// Whether people can be shown it.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

fn size(text: &str) -> Option<ByteSize> {
    text.parse().ok().filter(|size| *size > ByteSize::ZERO)
}

fn real(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

/// A time as people write it.
pub(in crate::cli) fn time(text: &str) -> Option<Duration> {
    if text == FOREVER {
        return Some(Duration::MAX);
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit.trim() {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// A time as people read it, and as [`time`] does.
pub(in crate::cli) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match time {
        Duration::MAX => FOREVER.to_owned(),
        _ if time.subsec_nanos() > 0 => format!("{}ms", time.as_secs_f64() * 1e3),
        _ if seconds > 0 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds > 0 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// As a file holds it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Texts(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Switch(on) => write!(f, "{on}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number:?}"),
            Self::Size(ByteSize::MAX) => f.write_str(&quoted(&ByteSize::MAX.to_string())),
            Self::Size(size) => f.write_str(&quoted(&written(*size))),
            Self::Time(time) => f.write_str(&quoted(&in_words(*time))),
        }
    }
}

/// As TOML writes a text.
pub(in crate::cli) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// A size that can be read back to the byte.
fn written(size: ByteSize) -> String {
    let bytes = size.bytes();
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| bytes.to_string(), |(shift, name)| format!("{}{name}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        for (text, seconds, back) in [
            ("0", 0.0, "0s"),
            ("90", 90.0, "90s"),
            ("5m", 300.0, "5m"),
            ("2h", 7200.0, "2h"),
            ("1d", 86_400.0, "24h"),
        ] {
            let read = time(text).unwrap();
            assert_eq!((read.as_secs_f64(), in_words(read).as_str()), (seconds, back), "{text}");
            assert_eq!(time(back), Some(read), "{back}");
        }
        assert_eq!(time("forever"), Some(Duration::MAX));
        assert_eq!(in_words(Duration::MAX), "forever");
        assert_eq!(time(&in_words(Duration::from_millis(250))), Some(Duration::from_millis(250)));
        for wrong in ["", "soon", "-1", "5 parsecs", "1e30d", "NaN", "."] {
            assert_eq!(time(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn each_kind_takes_what_it_says_and_nothing_else() {
        let table: [(Kind, &[&str], &[&str]); 9] = [
            (Kind::Text, &["a", " a b "], &["", " ", "a\nb"]),
            (Kind::Texts, &["a", "a, b,"], &["", ","]),
            (Kind::Address, &["127.0.0.1", "::1"], &["localhost", "1.2.3", ""]),
            (Kind::Switch, &["true", "OFF", "1"], &["maybe", ""]),
            (Kind::Number(1, 9), &["1", "9"], &["0", "10", "-1", "1.5", "x"]),
            (Kind::Size, &["1", "4GiB", "unlimited"], &["0", "-1", "4 apples", ""]),
            (Kind::Share, &["0.8", "1"], &["0", "1.01", "NaN", "-1"]),
            (Kind::Rate, &["0.5", "100"], &["0", "inf", "NaN"]),
            (Kind::Choice(&["a", "b"]), &["a"], &["c", "A", ""]),
        ];
        for (kind, right, wrong) in table {
            for text in right {
                let value = kind.of_text(text).unwrap_or_else(|| panic!("{kind:?} takes {text:?}"));
                let line = format!("x = {value}");
                let read = toml::de::DeTable::parse(&line).unwrap();
                let again = kind.of_toml(read.get_ref().get("x").unwrap().get_ref());
                assert_eq!(again.as_ref(), Some(&value), "{line} is what a file may hold");
            }
            for text in wrong {
                assert_eq!(kind.of_text(text), None, "{kind:?} takes no {text:?}");
            }
            assert!(!kind.expected().is_empty() && !kind.placeholder().is_empty());
        }
    }

    #[test]
    fn a_file_holds_the_right_type() {
        for (kind, written) in [
            (Kind::Switch, "\"true\""),
            (Kind::Number(0, 9), "\"5\""),
            (Kind::Number(0, 99), "0x10"),
            (Kind::Text, "5"),
            (Kind::Texts, "[1]"),
            (Kind::Texts, "[]"),
            (Kind::Time, "true"),
            (Kind::Address, "[]"),
        ] {
            let line = format!("x = {written}");
            let read = toml::de::DeTable::parse(&line).unwrap();
            assert_eq!(kind.of_toml(read.get_ref().get("x").unwrap().get_ref()), None, "{line}");
        }
    }
}
