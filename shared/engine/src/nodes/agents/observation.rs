//! Turns a tool's output into the text that the model gets.

use crate::{python_json, python_text};
use serde_json::{Map, Value};

const CUT_MARK: &str = "\n...[Content truncated]...\n";

/// Format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Indented JSON; a list has one line per item.
    Indented,
    /// Python's `str()`.
    Printed,
    /// JSON on one line, for HTTP calls at the same time: the reference returns their body unchanged.
    Compact,
}

/// The text of `content`. If it has more than `limit` characters, only its start and end.
pub(super) fn text(content: &Value, form: Form, limit: Option<usize>) -> String {
    let text = match (content, form) {
        (Value::String(text), _) => text.clone(),
        (content, Form::Printed) => python_text::str(content),
        (content, Form::Compact) => python_json::ascii(content),
        (Value::Object(map), Form::Indented) => of_map(map),
        (Value::Array(items), Form::Indented) => {
            let lines: Vec<String> = items.iter().map(python_text::str).collect();
            lines.join("\n")
        }
        (other, Form::Indented) => python_text::str(other),
    };
    cut(without_braces(text), limit)
}

fn of_map(map: &Map<String, Value>) -> String {
    let mut shown = map.clone();
    shown.shift_remove("files");
    match shown.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(content) => python_json::indented(content),
        None if shown.is_empty() => String::new(),
        None => python_json::indented(&Value::Object(shown)),
    }
}

/// Removes `{{` and `}}` around text on one line.
fn without_braces(text: String) -> String {
    if !text.contains("{{") {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find("{{") {
        let inner = &rest[start + 2..];
        let skipped = inner.len() - inner.trim_start().len();
        let end = inner[skipped..].find("}}").map(|end| skipped + end);
        let Some(end) = end.filter(|end| !inner[skipped..*end].trim_end().contains('\n')) else {
            plain.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
            continue;
        };
        plain.push_str(&rest[..start]);
        plain.push_str(inner[skipped..end].trim_end());
        rest = &inner[end + 2..];
    }
    plain.push_str(rest);
    plain
}

fn cut(text: String, limit: Option<usize>) -> String {
    let Some(limit) = limit else { return text };
    let length = text.chars().count();
    if length <= limit {
        return text;
    }
    let half = limit.saturating_sub(100) / 2;
    let index =
        |characters: usize| text.char_indices().nth(characters).map_or(text.len(), |(index, _)| index);
    format!("{}{CUT_MARK}{}", &text[..index(half)], &text[index(length - half)..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_and_cuts_content() {
        for (content, form, expected) in [
            (json!("x"), Form::Indented, "x"),
            (json!({"a": 1, "files": []}), Form::Indented, "{\n  \"a\": 1\n}"),
            (json!({"content": "x", "b": 1}), Form::Indented, "x"),
            (json!([1, "b", {"c": null}]), Form::Indented, "1\nb\n{'c': None}"),
            (json!([1, "b"]), Form::Printed, "[1, 'b']"),
            (json!({"a": [1]}), Form::Compact, "{\"a\": [1]}"),
            (json!(null), Form::Indented, "None"),
            (json!("see {{ name }} and {{\nx\n}} {{a\nb}}"), Form::Indented, "see name and x {{a\nb}}"),
        ] {
            assert_eq!(text(&content, form, None), expected);
        }
        let long: String = ('a'..='z').cycle().take(1000).collect();
        let short = text(&json!(long), Form::Indented, Some(300));
        assert_eq!(short, format!("{}{CUT_MARK}{}", &long[..100], &long[900..]));
    }
}
