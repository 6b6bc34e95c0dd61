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
    }
}
