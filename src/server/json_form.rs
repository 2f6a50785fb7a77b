//! Answers that must be JSON.

use serde_json::{Value, json};

use crate::capability::ResponseFormat;

/// JSON that `schema` accepts, written without line breaks and with at most one space between its parts: models that
/// are not sure what comes next would otherwise go on with blank space, which is always allowed, until they may write
/// no more. A schema that says itself how to write (`x-guidance`) is left as it is.
pub(super) fn compact(mut schema: Value) -> ResponseFormat {
    if let Value::Object(entries) = &mut schema {
        let spaced = json!({ "whitespace_flexible": false, "item_separator": ", ?", "key_separator": ": ?" });
        entries.entry("x-guidance").or_insert(spaced);
    }
    ResponseFormat::JsonSchema(schema)
}

/// Any object.
pub(super) fn any_object() -> ResponseFormat {
    compact(json!({ "type": "object" }))
}
