//! Values written as Python writes them: templates were written for it.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use crate::text::content_guard::may_be_cover;

/// How deep what is written may nest. It is walked by recursion, and a template can build anything.
pub(super) const MAX_DEPTH: usize = 96;

/// The widest field that `str.format` may ask for, in digits.
const MAX_WIDTH_DIGITS: usize = 4;

/// What methods Python's values have. Those whose result the library does not pay for beforehand are paid
/// for here.
pub(super) fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match (name, value.as_str()) {
        ("join", Some(separator)) => {
            for item in args.iter().filter_map(|items| items.try_iter().ok()).flatten() {
                pay(state, item.as_str().map_or(0, str::len) + separator.len())?;
            }
        }
        ("format", Some(text))
            if text.split(|c: char| !c.is_ascii_digit()).any(|n| n.len() > MAX_WIDTH_DIGITS) =>
        {
            return Err(Error::new(ErrorKind::InvalidOperation, "such a wide field makes no sense"));
        }
        _ => {}
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

/// One unit of fuel, and one for every 64 bytes.
fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(1 + bytes as u64 / 64)
}

/// `str(value)`; nothing for what is undefined.
pub(super) fn text(state: &State, value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Ok(String::new()),
        None => {
            let mut text = String::new();
            represent(state, value, &mut text, MAX_DEPTH)?;
            Ok(text)
        }
    }
}

/// `repr(value)`.
fn represent(state: &State, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    let below = depth.checked_sub(1).ok_or_else(too_deep)?;
    pay(state, value.as_str().map_or(0, str::len))?;
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Map => {
            out.push('{');
            for (place, key) in value.try_iter()?.enumerate() {
                out.push_str(if place == 0 { "" } else { ", " });
                represent(state, &key, out, below)?;
                out.push_str(": ");
                represent(state, &value.get_item(&key)?, out, below)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (place, item) in value.try_iter()?.enumerate() {
                out.push_str(if place == 0 { "" } else { ", " });
                represent(state, &item, out, below)?;
            }
            out.push(']');
        }
        // The others are functions, namespaces and the like, which may hold themselves.
        _ => out.push_str("<object>"),
    }
    Ok(())
}

/// In single quotes, unless only double ones need no escape.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == mark => out.extend(['\\', c]),
            c if c.is_control() => out.extend(["\\x", &format!("{:02x}", u32::from(c))]),
            c => out.push(c),
        }
    }
    out.push(mark);
}

/// Whole numbers in full; others with as many digits as tell them apart, and an exponent from 10^16 on and
/// below 10^-4.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(x) = f64::try_from(value.clone()) else { return value.to_string() };
    if !x.is_finite() {
        return if x.is_nan() {
            "nan"
        } else if x > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x == 0.0 || (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The filter `tojson` as transformers defines it: `json.dumps`, by default with characters as they are.
#[allow(clippy::needless_pass_by_value, reason = "the library hands options over like this")]
pub(super) fn to_json(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => match indent.as_usize() {
            Some(n) if n <= 16 => Some(" ".repeat(n)),
            Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "such an indent makes no sense")),
            None => Some(text(state, &indent)?),
        },
    };
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "there are two separators")),
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let mut json = JsonText {
        state,
        out: String::new(),
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item,
        key,
    };
    options.assert_all_used()?;
    json.value(value, 0)?;
    Ok(json.out)
}

/// JSON being written.
struct JsonText<'a> {
    state: &'a State<'a, 'a>,
    out: String,
    ascii: bool,
    sorted: bool,
    indent: Option<String>,
    /// What stands between items.
    item: String,
    /// What stands between a key and its value.
    key: String,
}

impl JsonText<'_> {
    fn value(&mut self, value: &Value, level: usize) -> Result<(), Error> {
        if level >= MAX_DEPTH {
            return Err(too_deep());
        }
        pay(self.state, value.as_str().map_or(0, str::len))?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&json_number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = self.collect(value)?;
                self.list('[', ']', &items, level, |json, item| json.value(item, level + 1))?;
            }
            ValueKind::Map => {
                let mut keys = self.collect(value)?;
                if self.sorted {
                    keys.sort();
                }
                self.list('{', '}', &keys, level, |json, key| {
                    json.string(&json_key(key)?);
                    json.out.push_str(&json.key.clone());
                    json.value(&value.get_item(key)?, level + 1)
                })?;
            }
            _ => return Err(Error::new(ErrorKind::BadSerialization, "what is undefined is no JSON")),
        }
        Ok(())
    }

    /// A sequence may be far longer than what it was made of.
    fn collect(&self, value: &Value) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        for item in value.try_iter()? {
            pay(self.state, 0)?;
            items.push(item);
        }
        Ok(items)
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        items: &[Value],
        level: usize,
        mut each: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.out.push_str(&self.item.clone());
            }
            self.new_line(level + 1);
            each(self, item)?;
        }
        if !items.is_empty() {
            self.new_line(level);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, level: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            (0..level).for_each(|_| self.out.push_str(indent));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{C}' => self.out.push_str("\\f"),
                // A cover stands for a character of a special token, which is plain enough.
                c if u32::from(c) < 0x20 || (self.ascii && !(' '..='~').contains(&c) && !may_be_cover(c)) => {
                    let units = c.encode_utf16(&mut [0; 2]).to_vec();
                    units.iter().for_each(|unit| self.out.extend(["\\u", &format!("{unit:04x}")]));
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn json_number(value: &Value) -> String {
    match number(value).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        number => number.to_owned(),
    }
}

/// Python writes keys that are no texts as their JSON.
fn json_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok((if key.is_true() { "true" } else { "false" }).to_owned()),
        ValueKind::Number => Ok(json_number(key)),
        _ => Err(Error::new(ErrorKind::BadSerialization, "such a key is no JSON")),
    }
}

pub(super) fn too_deep() -> Error {
    Error::new(ErrorKind::BadSerialization, "a value is nested too deep to be written")
}
