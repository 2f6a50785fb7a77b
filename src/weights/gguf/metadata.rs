//! What a GGUF file says about itself: typed values under dotted keys.
//!
//! Values are kept as the file has them, lists of numbers as their bytes and lists of texts as one text with
//! marks, so metadata take hardly more memory than they take in the file.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use super::cursor::Cursor;
use super::error::{GgufFlaw, KeyError};

/// The most keys accepted in one file.
pub const MAX_KEYS: u64 = 65_536;
/// The longest key accepted, in bytes, as in the format's specification.
pub const MAX_KEY_BYTES: usize = 65_535;

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum NumberKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number or truth value.
    Number(Numbers),
    /// One text.
    Text(String),
    /// Any number of numbers of one kind.
    Numbers(Numbers),
    /// Any number of texts.
    Texts(Texts),
}

/// Numbers as the file has them: little-endian, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    kind: NumberKind,
    bytes: Vec<u8>,
}

/// Texts, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    text: String,
    ends: Vec<u32>,
}

/// All keys and values of a file.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    values: BTreeMap<String, Value>,
}

/// What can be taken out of a [`Value`].
pub trait FromValue<'a>: Sized {
    /// What it is called in messages.
    const EXPECTED: &'static str;

    /// `None` where `value` is something else. Whole numbers may be stored in any width that holds them.
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl NumberKind {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    fn is_signed(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64)
    }
}

impl Numbers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.kind.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How they are stored.
    pub fn kind(&self) -> NumberKind {
        self.kind
    }

    /// They as whole numbers; `None` if that is not what they are.
    pub fn integers(&self) -> Option<impl Iterator<Item = i128>> {
        let integral = !matches!(self.kind, NumberKind::F32 | NumberKind::F64 | NumberKind::Bool);
        let signed = self.kind.is_signed();
        integral.then(|| {
            self.bytes.chunks_exact(self.kind.size()).map(move |bytes| {
                let negative = signed && bytes.last().is_some_and(|top| top & 0x80 != 0);
                let mut wide = [if negative { 0xFF } else { 0 }; 16];
                wide[..bytes.len()].copy_from_slice(bytes);
                i128::from_le_bytes(wide)
            })
        })
    }

    /// They as floating-point numbers; `None` if that is not what they are.
    pub fn floats(&self) -> Option<impl Iterator<Item = f64>> {
        let floating = matches!(self.kind, NumberKind::F32 | NumberKind::F64);
        floating.then(|| {
            self.bytes.chunks_exact(self.kind.size()).map(|bytes| match <[u8; 4]>::try_from(bytes) {
                Ok(four) => f64::from(f32::from_le_bytes(four)),
                Err(_) => f64::from_le_bytes(bytes.try_into().expect("a float has four or eight bytes")),
            })
        })
    }
}

impl Texts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The `index`-th.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.text[begin..end])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl Metadata {
    /// Reads `count` keys and their values.
    pub(super) fn read(cursor: &mut Cursor<impl Read>, count: u64) -> Result<Self, GgufFlaw> {
        if count > MAX_KEYS {
            return Err(GgufFlaw::TooManyKeys { count, limit: MAX_KEYS });
        }
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let key = cursor.text("a metadata key")?;
            if key.len() > MAX_KEY_BYTES {
                return Err(GgufFlaw::KeyTooLong { len: key.len(), limit: MAX_KEY_BYTES });
            }
            let value = read_value(cursor, &key)?;
            if values.contains_key(&key) {
                return Err(GgufFlaw::DuplicateKey { key: brief(&key) });
            }
            values.insert(key, value);
        }
        Ok(Self { values })
    }

    /// What `key` holds, if it is there; an error if it is something else.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, KeyError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        match T::from_value(value) {
            Some(found) => Ok(Some(found)),
            None => Err(KeyError::WrongKind {
                key: key.to_owned(),
                expected: T::EXPECTED,
                found: value.to_string(),
            }),
        }
    }

    /// What `key` holds.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, KeyError> {
        self.get(key)?.ok_or_else(|| KeyError::Missing { key: key.to_owned() })
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }
}

fn read_value(cursor: &mut Cursor<impl Read>, key: &str) -> Result<Value, GgufFlaw> {
    const TEXT: u32 = 8;
    const LIST: u32 = 9;
    let number = |cursor: &mut Cursor<_>, code: u32, count: u64| {
        let kind =
            NumberKind::from_code(code).ok_or_else(|| GgufFlaw::UnknownValue { key: brief(key), code })?;
        let bytes = cursor.bytes("a metadata value", count.saturating_mul(kind.size() as u64))?;
        match bytes.iter().find(|byte| kind == NumberKind::Bool && **byte > 1) {
            Some(&value) => Err(GgufFlaw::BadBool { key: brief(key), value }),
            None => Ok(Numbers { kind, bytes }),
        }
    };
    match cursor.u32("the type of a metadata value")? {
        TEXT => cursor.text("a metadata text").map(Value::Text),
        LIST => match cursor.u32("the type of a metadata list")? {
            LIST => Err(GgufFlaw::NestedList { key: brief(key) }),
            TEXT => read_texts(cursor).map(Value::Texts),
            code => {
                let count = cursor.count("a metadata list", 1)?;
                number(cursor, code, count).map(Value::Numbers)
            }
        },
        code => number(cursor, code, 1).map(Value::Number),
    }
}

fn read_texts(cursor: &mut Cursor<impl Read>) -> Result<Texts, GgufFlaw> {
    let count = cursor.count("a metadata list of texts", 8)?;
    let mut texts = Texts::default();
    for _ in 0..count {
        texts.text.push_str(&cursor.text("a text in a metadata list")?);
        // Fits: a description is far below 4 GiB.
        texts.ends.push(texts.text.len() as u32);
    }
    Ok(texts)
}

/// The start of a stranger's text.
pub(super) fn brief(text: &str) -> String {
    text.chars().take(96).collect()
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "one {:?}", number.kind),
            Self::Text(_) => f.write_str("a text"),
            Self::Numbers(numbers) => write!(f, "a list of {} {:?}", numbers.len(), numbers.kind),
            Self::Texts(texts) => write!(f, "a list of {} texts", texts.len()),
        }
    }
}

impl Value {
    fn integer(&self) -> Option<i128> {
        let Self::Number(number) = self else { return None };
        number.integers()?.next()
    }
}

macro_rules! whole_numbers {
    ($($kind:ty => $one:literal, $many:literal);* $(;)?) => {$(
        impl FromValue<'_> for $kind {
            const EXPECTED: &'static str = $one;

            fn from_value(value: &Value) -> Option<Self> {
                value.integer()?.try_into().ok()
            }
        }

        impl FromValue<'_> for Vec<$kind> {
            const EXPECTED: &'static str = $many;

            fn from_value(value: &Value) -> Option<Self> {
                let Value::Numbers(numbers) = value else { return None };
                numbers.integers()?.map(|number| number.try_into().ok()).collect()
            }
        }
    )*};
}

whole_numbers! {
    u32 => "a whole number below 2^32", "a list of whole numbers below 2^32";
    u64 => "a whole number", "a list of whole numbers";
    i64 => "a whole number within 64 bits", "a list of whole numbers within 64 bits";
    usize => "a whole number", "a list of whole numbers";
    i32 => "a whole number within 32 bits", "a list of whole numbers within 32 bits";
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a floating-point number";

    fn from_value(value: &Value) -> Option<Self> {
        let Value::Number(number) = value else { return None };
        number.floats()?.next().map(|number| number as f32)
    }
}

impl FromValue<'_> for Vec<f32> {
    const EXPECTED: &'static str = "a list of floating-point numbers";

    fn from_value(value: &Value) -> Option<Self> {
        let Value::Numbers(numbers) = value else { return None };
        Some(numbers.floats()?.map(|number| number as f32).collect())
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a truth value";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(Numbers { kind: NumberKind::Bool, bytes }) => Some(bytes.first() == Some(&1)),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a text";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a Texts {
    const EXPECTED: &'static str = "a list of texts";

    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Texts(texts) => Some(texts),
            _ => None,
        }
    }
}
