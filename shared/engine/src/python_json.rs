//! How Python's `json.dumps` writes values: what models were shown before is what they are shown here.

use crate::python_text;
use serde_json::Value;
use std::fmt::Write as _;

/// `json.dumps(value)`.
pub(crate) fn dumps(value: &Value) -> String {
    let mut text = String::new();
    write(value, None, 0, &mut text);
    text
}

/// `json.dumps(value, indent=2)`.
pub(crate) fn indented(value: &Value) -> String {
    let mut text = String::new();
    write(value, Some(2), 0, &mut text);
    text
}

fn write(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(_) => text.push_str(&python_text::repr(value)),
        Value::String(string) => quote(string, text),
        Value::Array(items) => {
            let items = items.iter().map(|item| (None, item));
            write_all(['[', ']'], items, indent, depth, text);
        }
        Value::Object(map) => {
            let items = map.iter().map(|(key, item)| (Some(key.as_str()), item));
            write_all(['{', '}'], items, indent, depth, text);
        }
    }
}

fn write_all<'v>(
    brackets: [char; 2],
    items: impl ExactSizeIterator<Item = (Option<&'v str>, &'v Value)>,
    indent: Option<usize>,
    depth: usize,
    text: &mut String,
) {
    let is_empty = items.len() == 0;
    let line = |depth: usize, text: &mut String| {
        if let Some(indent) = indent.filter(|_| !is_empty) {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    text.push(brackets[0]);
    for (place, (key, item)) in items.enumerate() {
        if place > 0 {
            text.push_str(if indent.is_some() { "," } else { ", " });
        }
        line(depth + 1, text);
        if let Some(key) = key {
            quote(key, text);
            text.push_str(": ");
        }
        write(item, indent, depth + 1, text);
    }
    line(depth, text);
    text.push(brackets[1]);
}

/// A string in ASCII: all else is escaped.
fn quote(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn as_python_dumps_it() {
        let value = json!({"a": [1, 2.0, null], "é\u{1f600}": "x\n\"y\"", "e": {}, "l": []});
        assert_eq!(
            dumps(&value),
            r#"{"a": [1, 2.0, null], "\u00e9\ud83d\ude00": "x\n\"y\"", "e": {}, "l": []}"#
        );
        assert_eq!(
            indented(&json!({"a": [1, true], "e": {}})),
            "{\n  \"a\": [\n    1,\n    true\n  ],\n  \"e\": {}\n}"
        );
    }
}
