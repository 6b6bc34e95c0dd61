//! JSON as Python's `json.dumps` writes it: with a space after `,` and `:`, and optionally with non-ASCII text escaped.

use crate::{compute, python_text};
use serde_json::Value;
use std::fmt::Write as _;

/// `json.dumps(value)`.
pub(crate) fn ascii(value: &Value) -> String {
    dumps(value, Style::PLAIN)
}

/// `json.dumps(value, ensure_ascii=False)`.
pub(crate) fn unicode(value: &Value) -> String {
    dumps(value, Style { ascii: false, ..Style::PLAIN })
}

/// `json.dumps(value, indent=2)`.
pub(crate) fn indented(value: &Value) -> String {
    dumps(value, Style { indent: Some(2), ..Style::PLAIN })
}

/// `json.dumps(value, indent=2, sort_keys=True)`.
pub(crate) fn sorted(value: &Value) -> String {
    dumps(value, Style { indent: Some(2), sorted: true, ..Style::PLAIN })
}

#[derive(Clone, Copy)]
struct Style {
    ascii: bool,
    indent: Option<usize>,
    sorted: bool,
}

impl Style {
    const PLAIN: Self = Self { ascii: true, indent: None, sorted: false };
}

fn dumps(value: &Value, style: Style) -> String {
    let mut text = String::new();
    write(value, style, 0, &mut text);
    text
}

/// Stops once the computation around it has exceeded its budget; the computation then fails, so the text is not used.
fn write(value: &Value, style: Style, depth: usize, text: &mut String) {
    if compute::step(1).is_err() {
        return;
    }
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&python_text::number_text(number)),
        Value::String(string) => quote(string, style, text),
        Value::Array(items) => {
            let items = items.iter().map(|item| (None, item));
            write_all(['[', ']'], items, style, depth, text);
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            if style.sorted {
                entries.sort_unstable_by_key(|(key, _)| *key);
            }
            let items = entries.into_iter().map(|(key, item)| (Some(key.as_str()), item));
            write_all(['{', '}'], items, style, depth, text);
        }
    }
}

fn write_all<'v>(
    brackets: [char; 2],
    items: impl ExactSizeIterator<Item = (Option<&'v str>, &'v Value)>,
    style: Style,
    depth: usize,
    text: &mut String,
) {
    let is_empty = items.len() == 0;
    let line = |depth: usize, text: &mut String| {
        if let Some(indent) = style.indent.filter(|_| !is_empty) {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    text.push(brackets[0]);
    for (index, (key, item)) in items.enumerate() {
        if index > 0 {
            text.push_str(if style.indent.is_some() { "," } else { ", " });
        }
        line(depth + 1, text);
        if let Some(key) = key {
            quote(key, style, text);
            text.push_str(": ");
        }
        write(item, style, depth + 1, text);
    }
    line(depth, text);
    text.push(brackets[1]);
}

fn quote(string: &str, style: Style, text: &mut String) {
    if compute::make(string.len()).is_err() {
        return;
    }
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
            _ if !style.ascii && character >= ' ' => text.push(character),
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
    fn matches_python() {
        let value = json!({"a": [1, 2.0, 1e-7, null, true], "ü\u{7f}": "😀\n\u{1}\"\\", "e": {}, "l": []});
        assert_eq!(
            ascii(&value),
            r#"{"a": [1, 2.0, 1e-07, null, true], "\u00fc\u007f": "\ud83d\ude00\n\u0001\"\\", "e": {}, "l": []}"#
        );
        assert_eq!(
            unicode(&value),
            "{\"a\": [1, 2.0, 1e-07, null, true], \"ü\u{7f}\": \"😀\\n\\u0001\\\"\\\\\", \"e\": {}, \"l\": []}"
        );
        assert_eq!(
            indented(&json!({"a": [1, true], "e": {}})),
            "{\n  \"a\": [\n    1,\n    true\n  ],\n  \"e\": {}\n}"
        );
        assert_eq!(sorted(&json!({"b": {}, "a": 1})), "{\n  \"a\": 1,\n  \"b\": {}\n}");
    }
}
