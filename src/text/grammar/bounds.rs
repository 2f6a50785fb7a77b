//! What is looked at in a form before the library sees it.
//!
//! The library follows references, rules and nests by recursion, with no limit of its own: a chain of 2,000
//! references in a schema, or of 10,000 rules in a grammar, overflows a stack of 2 MB. For some keywords of
//! schemas it takes time that grows with the square of their number or faster. With these bounds, nothing
//! tried takes it more than a second or 110 MB.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::capability::{MAX_LARK_BYTES, MAX_REGEX_BYTES};

/// How many groups and repetitions an expression may have. The library tells apart what is left of `a?a?a?`
/// after each number of its parts: 4,096 of them take three seconds and 300 MB, 500 a quarter second and 50.
const MAX_REPETITIONS: usize = 500;

/// How many rules, groups and counted repetitions a grammar may have together, and keys of schemas within it.
const MAX_LARK_PARTS: usize = 500;

/// How long all patterns of a schema may be together, in bytes.
const MAX_PATTERNS: usize = 32 << 10;

/// The largest least common multiple of what numbers must be multiples of, decimal points left out. The
/// library tries all remainders: 99,991 takes it 0.8 seconds, 999,983 did not end.
const MAX_MULTIPLE: u64 = 10_000;

/// How many values a schema may have, of any kind.
const MAX_VALUES: usize = 10_000;

/// How deep a schema may nest if every reference in it were followed once.
const MAX_FOLLOWED_DEPTH: usize = 400;

/// How many properties one object may have, and how many names it may require.
const MAX_PROPERTIES: usize = 1_000;

/// How many patterns for names of properties there may be: the library compares each with each.
const MAX_NAME_PATTERNS: usize = 64;

/// How many schemas or terminals may have to hold at once, all places taken together. The library multiplies
/// them: 13 patterns take it 0.1 seconds, 16 two, and 30 did not end.
const MAX_COMBINED: usize = 12;

/// Keywords that bring other schemas into the one they are in.
const APPLIED: [&str; 3] = ["$ref", "anyOf", "oneOf"];

/// Keywords that leave nothing to combine with what is brought in.
const PLAIN: [&str; 10] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "description",
    "examples",
    "title",
    "type",
];

/// Why a regular expression may not be compiled.
pub(super) fn regex(text: &str) -> Result<(), String> {
    at_most("bytes", text.len(), MAX_REGEX_BYTES)?;
    at_most("groups and repetitions", count(text, b"({?*+"), MAX_REPETITIONS)
}

/// Why a grammar may not be compiled.
pub(super) fn lark(text: &str) -> Result<(), String> {
    at_most("bytes", text.len(), MAX_LARK_BYTES)?;
    at_most("rules, groups, counted repetitions and keys", count(text, b":([{"), MAX_LARK_PARTS)?;
    at_most("repetitions", count(text, b"?*+"), MAX_REPETITIONS)?;
    at_most("intersections and complements", count(text, b"&~"), MAX_COMBINED)?;
    text.split("%json").skip(1).try_for_each(|rest| {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let Some(Ok(embedded)) = values.next() else { return Err("no JSON follows its %json".to_owned()) };
        schema(&embedded)
    })
}

/// Why a schema may not be compiled.
pub(super) fn schema(schema: &Value) -> Result<(), String> {
    let mut seen = Seen::default();
    let mut depth = seen.depth(schema);
    at_most("values", seen.values, MAX_VALUES)?;
    at_most("properties in one object", seen.properties, MAX_PROPERTIES)?;
    at_most("patternProperties", seen.name_patterns, MAX_NAME_PATTERNS)?;
    at_most("schemas to combine", seen.combined, MAX_COMBINED)?;
    let in_pattern = |reason| format!("a pattern is too much: {reason}");
    seen.patterns.iter().try_for_each(|pattern| regex(pattern).map_err(in_pattern))?;
    at_most("bytes of patterns", seen.patterns.iter().map(|pattern| pattern.len()).sum(), MAX_PATTERNS)?;
    common_multiple(&seen.divisors)?;
    for reference in seen.references {
        let target = reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer));
        // What is found by other means, or not at all, is the library's to refuse.
        depth += 1 + target.map_or(0, |target| Seen::default().depth(target));
        at_most("levels with its references", depth, MAX_FOLLOWED_DEPTH)?;
    }
    Ok(())
}

/// Why numbers cannot be multiples of these.
fn common_multiple(divisors: &[f64]) -> Result<(), String> {
    let mut multiple = 1;
    for divisor in divisors {
        let mut digits = divisor.abs();
        while digits.fract() != 0.0 {
            digits *= 10.0;
        }
        let digits = (digits as u64).max(1);
        multiple = multiple / common_divisor(multiple, digits) * digits.min(MAX_MULTIPLE + 1);
        if multiple > MAX_MULTIPLE {
            return Err(format!(
                "the digits of its multipleOf have no common multiple of at most {MAX_MULTIPLE}"
            ));
        }
    }
    Ok(())
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// How many bytes of `text` are among `bytes`.
fn count(text: &str, bytes: &[u8]) -> usize {
    text.bytes().filter(|byte| bytes.contains(byte)).count()
}

fn at_most(what: &str, n: usize, most: usize) -> Result<(), String> {
    if n <= most { Ok(()) } else { Err(format!("it has {n} {what}, and {most} at most are taken")) }
}

/// What there is in a schema.
#[derive(Default)]
struct Seen<'a> {
    values: usize,
    /// The most in one place.
    properties: usize,
    name_patterns: usize,
    combined: usize,
    /// For texts and for names of properties.
    patterns: Vec<&'a str>,
    divisors: Vec<f64>,
    references: BTreeSet<&'a str>,
}

impl<'a> Seen<'a> {
    /// How deep `value` nests. Requests are not let in if that is much.
    fn depth(&mut self, value: &'a Value) -> usize {
        self.values += 1;
        match value {
            Value::Array(items) => 1 + items.iter().map(|item| self.depth(item)).max().unwrap_or(0),
            Value::Object(entries) => {
                let has = |keys: &[&str]| entries.keys().filter(|key| keys.contains(&key.as_str())).count();
                let applied = has(&APPLIED);
                let alone = entries.len() == applied + has(&PLAIN);
                self.combined += applied.saturating_sub(usize::from(alone));
                let mut deepest = 0;
                for (key, value) in entries {
                    self.keyword(key, value);
                    deepest = deepest.max(self.depth(value));
                }
                1 + deepest
            }
            _ => 0,
        }
    }

    fn keyword(&mut self, key: &str, value: &'a Value) {
        let entries = value.as_object();
        let size = value.as_array().map(Vec::len).or(entries.map(serde_json::Map::len)).unwrap_or(0);
        match key {
            "properties" | "required" | "prefixItems" | "items" => {
                self.properties = self.properties.max(size);
            }
            "patternProperties" => {
                self.name_patterns += size;
                self.patterns
                    .extend(entries.into_iter().flat_map(|entries| entries.keys().map(String::as_str)));
            }
            "pattern" => self.patterns.extend(value.as_str()),
            "multipleOf" => self.divisors.extend(value.as_f64()),
            "allOf" => self.combined += size,
            "$ref" => self.references.extend(value.as_str()),
            _ => {}
        }
    }
}
