//! How large and how deep the JSON of a request is.

use serde_json::Value;

/// What any value weighs beside its text, in bytes.
const VALUE_BYTES: usize = 8;

/// The size of a JSON value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// How many bytes of text it holds, keys too, and [`VALUE_BYTES`] for each value.
    pub(crate) bytes: usize,
    /// How many levels it has: 1 for a number, 2 for a list of numbers.
    pub(crate) depth: usize,
}

impl Extent {
    /// Measures `value`, however deep it is: nothing here recurses.
    pub(crate) fn of(value: &Value) -> Self {
        let mut extent = Self::default();
        let mut open = vec![(value, 1)];
        while let Some((value, level)) = open.pop() {
            extent.depth = extent.depth.max(level);
            extent.bytes += VALUE_BYTES;
            match value {
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
                Value::String(text) => extent.bytes += text.len(),
                Value::Array(items) => open.extend(items.iter().map(|item| (item, level + 1))),
                Value::Object(entries) => {
                    extent.bytes += entries.keys().map(String::len).sum::<usize>();
                    open.extend(entries.values().map(|item| (item, level + 1)));
                }
            }
        }
        extent
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_keys_and_values_count() {
        assert_eq!(Extent::of(&json!(null)), Extent { bytes: 8, depth: 1 });
        assert_eq!(Extent::of(&json!("four")), Extent { bytes: 12, depth: 1 });
        assert_eq!(Extent::of(&json!({ "key": [1, "é"] })), Extent { bytes: 8 + 3 + 8 + 8 + 10, depth: 3 });
        let deep = (1..100).fold(json!(1), |inside, _| json!([inside]));
        assert_eq!(Extent::of(&deep), Extent { bytes: 800, depth: 100 });
    }
}
