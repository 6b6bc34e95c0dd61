//! JSON as Python's `json.dumps` writes it: with a space after `,` and `:`, and all beyond ASCII escaped if asked to.

use crate::python_text;
use serde_json::Value;
use std::fmt::Write as _;

/// `json.dumps(value)`.
pub(crate) fn ascii(value: &Value) -> String {
    let mut text = String::new();
    write(value, true, &mut text);
    text
}

/// `json.dumps(value, ensure_ascii=False)`.
pub(crate) fn unicode(value: &Value) -> String {
    let mut text = String::new();
    write(value, false, &mut text);
    text
}

/// `json.dumps(value, indent=2, sort_keys=True)`.
pub(crate) fn indented(value: &Value) -> String {
    let mut text = String::new();
    write_indented(value, 0, &mut text);
    text
}

fn write_indented(value: &Value, depth: usize, text: &mut String) {
    let line = |text: &mut String, place: usize, depth: usize| {
        text.push_str(if place > 0 { ",\n" } else { "\n" });
        text.push_str(&"  ".repeat(depth));
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                line(text, place, depth + 1);
                write_indented(item, depth + 1, text);
            }
            line(text, 0, depth);
            text.push(']');
        }
        Value::Object(map) if !map.is_empty() => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (place, (key, item)) in entries.into_iter().enumerate() {
                line(text, place, depth + 1);
                quote(key, true, text);
                text.push_str(": ");
                write_indented(item, depth + 1, text);
            }
            line(text, 0, depth);
            text.push('}');
        }
        other => write(other, true, text),
    }
}

fn write(value: &Value, ascii: bool, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&python_text::number_text(number)),
        Value::String(string) => quote(string, ascii, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                write(item, ascii, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                quote(key, ascii, text);
                text.push_str(": ");
                write(value, ascii, text);
            }
            text.push('}');
        }
    }
}

fn quote(string: &str, ascii: bool, text: &mut String) {
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
            _ if !ascii && character >= ' ' => text.push(character),
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
    fn as_python_writes_it() {
        let value = json!({"a": [1, 2.0, 1e-7, null, true], "ü\u{7f}": "😀\n\u{1}\"\\"});
        assert_eq!(
            ascii(&value),
            r#"{"a": [1, 2.0, 1e-07, null, true], "\u00fc\u007f": "\ud83d\ude00\n\u0001\"\\"}"#
        );
        assert_eq!(
            unicode(&value),
            "{\"a\": [1, 2.0, 1e-07, null, true], \"ü\u{7f}\": \"😀\\n\\u0001\\\"\\\\\"}"
        );
        let value = json!({"b": [1, {}], "a": {"ü": []}});
        let text = "{\n  \"a\": {\n    \"\\u00fc\": []\n  },\n  \"b\": [\n    1,\n    {}\n  ]\n}";
        assert_eq!(indented(&value), text);
    }
}
