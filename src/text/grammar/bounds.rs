//! What is looked at in a form before the library sees it.
//!
//! The library follows references, rules and nests by recursion, with no limit of its own: a chain of 2,000
//! references in a schema, or of 10,000 rules in a grammar, overflows a stack of 2 MB. For some keywords of
//! schemas it takes time that grows with the square of their number or faster.

use std::collections::BTreeSet;

use serde_json::Value;

/// The longest regular expression, in bytes. The library takes about 250 times as much memory to read one.
const MAX_REGEX: usize = 64 << 10;

/// The longest grammar, in bytes.
const MAX_LARK: usize = 128 << 10;

/// How many rules, groups and repetitions a grammar may have together, and keys of schemas within it.
const MAX_LARK_PARTS: usize = 500;

/// How many values a schema may have, of any kind.
const MAX_VALUES: usize = 10_000;

/// How deep a schema may nest if every reference in it were followed once.
const MAX_FOLLOWED_DEPTH: usize = 400;

/// How many properties one object may have, and how many names it may require.
const MAX_PROPERTIES: usize = 1_000;

/// How many patterns for names of properties there may be: the library compares each with each.
const MAX_NAME_PATTERNS: usize = 64;

/// How many schemas may have to hold at once, all `allOf` taken together: it multiplies their patterns.
const MAX_COMBINED: usize = 16;

/// Why a regular expression may not be compiled.
pub(super) fn regex(text: &str) -> Result<(), String> {
    at_most("bytes", text.len(), MAX_REGEX)
}

/// Why a grammar may not be compiled.
pub(super) fn lark(text: &str) -> Result<(), String> {
    at_most("bytes", text.len(), MAX_LARK)?;
    let parts = text.bytes().filter(|byte| b":([{".contains(byte)).count();
    at_most("rules, groups, repetitions and keys", parts, MAX_LARK_PARTS)
}

/// Why a schema may not be compiled.
pub(super) fn schema(schema: &Value) -> Result<(), String> {
    let mut seen = Seen::default();
    let mut depth = seen.depth(schema);
    at_most("values", seen.values, MAX_VALUES)?;
    at_most("properties in one object", seen.properties, MAX_PROPERTIES)?;
    at_most("patternProperties", seen.name_patterns, MAX_NAME_PATTERNS)?;
    at_most("schemas in allOf", seen.combined, MAX_COMBINED)?;
    for reference in seen.references {
        let target = reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer));
        // What is found by other means, or not at all, is the library's to refuse.
        depth += 1 + target.map_or(0, |target| Seen::default().depth(target));
        at_most("levels with its references", depth, MAX_FOLLOWED_DEPTH)?;
    }
    Ok(())
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
    references: BTreeSet<&'a str>,
}

impl<'a> Seen<'a> {
    /// How deep `value` nests. Requests are not let in if that is much.
    fn depth(&mut self, value: &'a Value) -> usize {
        self.values += 1;
        match value {
            Value::Array(items) => 1 + items.iter().map(|item| self.depth(item)).max().unwrap_or(0),
            Value::Object(entries) => {
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
        let size =
            value.as_array().map(Vec::len).or(value.as_object().map(serde_json::Map::len)).unwrap_or(0);
        match key {
            "properties" | "required" | "prefixItems" | "items" => {
                self.properties = self.properties.max(size)
            }
            "patternProperties" => self.name_patterns += size,
            "allOf" => self.combined += size,
            "$ref" => self.references.extend(value.as_str()),
            _ => {}
        }
    }
}
