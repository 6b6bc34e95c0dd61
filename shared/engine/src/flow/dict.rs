//! Python's `dict(value)`, which the reference applies to every node's input before it is in the results.

use super::NodeError;
use crate::python_text;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Returns a mapping unchanged, and a list of pairs as a mapping; for other values the error that Python raises.
pub(super) fn dict(value: &Value) -> Result<Cow<'_, Value>, NodeError> {
    let error = |kind: &'static str| {
        let what = python_text::type_name(value);
        Err(NodeError::new(
            kind,
            format!("the node's input must be a mapping, but its transformer returns {what}"),
        ))
    };
    match value {
        Value::Object(_) => Ok(Cow::Borrowed(value)),
        Value::String(text) if !text.is_empty() => error("ValueError"),
        Value::String(_) => Ok(Cow::Owned(Value::Object(Map::new()))),
        Value::Array(items) => {
            let mut map = Map::new();
            for item in items {
                match item.as_array().map(Vec::as_slice) {
                    Some([key, value]) => match name(key) {
                        Some(name) => map.insert(name, value.clone()),
                        None => return error("TypeError"),
                    },
                    Some(_) => return error("ValueError"),
                    None if matches!(item, Value::String(_) | Value::Object(_)) => {
                        return error("ValueError");
                    }
                    None => return error("TypeError"),
                };
            }
            Ok(Cow::Owned(Value::Object(map)))
        }
        _ => error("TypeError"),
    }
}

/// A key as JSON writes it; `None` for a value that Python cannot use as a key.
fn name(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}
