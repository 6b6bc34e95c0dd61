//! Reads JSON as models write it: with line breaks inside strings, with text after the value, or cut off.

use crate::flow::NodeError;
use serde_json::{Deserializer, Value};
use std::fmt::Write as _;

/// The first value of `text`; what follows it is ignored. Strings may contain control characters. The error names the
/// position of the syntax error.
pub(super) fn first(text: &str) -> Result<Value, String> {
    check(text)?;
    let text = escape_controls(text.trim());
    match Deserializer::from_str(&text).into_iter().next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the text is empty".into()),
    }
}

/// All of `text` as one value; if it is cut off, its complete members.
pub(super) fn whole_or_cut(text: &str) -> Result<Value, String> {
    check(text)?;
    let text = escape_controls(text.trim());
    serde_json::from_str(&text).or_else(|error| match cut(&text) {
        Some(text) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        None => Err(error.to_string()),
    })
}

/// All of `text` as one value. Strings may contain control characters.
pub(super) fn whole(text: &str) -> Result<Value, String> {
    check(text)?;
    serde_json::from_str(&escape_controls(text.trim())).map_err(|error| error.to_string())
}

fn check(text: &str) -> Result<(), String> {
    NodeError::check_json(text).map_err(|error| error.message)
}

/// The first object or array whose brackets match.
pub(super) fn bracketed(text: &str) -> Option<&str> {
    let start = text.find(['{', '['])?;
    let mut open = Vec::new();
    let mut string = Quoted::default();
    for (index, character) in text[start..].char_indices() {
        if string.holds(character) {
            continue;
        }
        match character {
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' if open.pop() != Some(character) => return None,
            '}' | ']' if open.is_empty() => return Some(&text[start..=start + index]),
            _ => {}
        }
    }
    None
}

/// Tracks whether characters are inside a string.
#[derive(Default)]
struct Quoted {
    inside: bool,
    escaped: bool,
}

impl Quoted {
    /// Whether the next character belongs to a string, its quotes included.
    fn holds(&mut self, character: char) -> bool {
        let was_inside = self.inside;
        match character {
            _ if std::mem::take(&mut self.escaped) => {}
            '\\' if self.inside => self.escaped = true,
            '"' => self.inside = !self.inside,
            _ => {}
        }
        was_inside || self.inside
    }
}

/// Escapes control characters inside strings, which JSON forbids.
fn escape_controls(text: &str) -> String {
    let mut string = Quoted::default();
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if string.holds(character) && character.is_ascii_control() {
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The brackets that would close those left open at the end of `text`, the outermost first.
fn open_in(text: &str) -> Vec<char> {
    let mut open = Vec::new();
    let mut string = Quoted::default();
    for character in text.chars() {
        match character {
            _ if string.holds(character) => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => drop(open.pop()),
            _ => {}
        }
    }
    open
}

/// The text up to its last complete member, with all open brackets closed.
fn cut(text: &str) -> Option<String> {
    let mut string = Quoted::default();
    // Where the last complete member ends.
    let mut whole = None;
    for (index, character) in text.char_indices() {
        if string.holds(character) {
            continue;
        }
        match character {
            '{' | '[' | '}' | ']' => whole = Some(index + 1),
            // Only a comma shows that a number is complete: at the end of the text it may be cut off.
            ',' => whole = Some(index),
            _ => {}
        }
    }
    if !string.inside && text.ends_with(['"', '}', ']']) {
        whole = Some(text.len());
    }
    let end = whole?;
    let open = open_in(&text[..end]);
    // The part that is cut off must begin as a valid key.
    let rest = text[end..].trim_start_matches([',', ' ', '\n', '\t']);
    if open.last() == Some(&'}') && !rest.is_empty() && !rest.starts_with('"') {
        return None;
    }
    let mut kept = text[..end].to_owned();
    kept.extend(open.iter().rev());
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_models_write() {
        assert_eq!(first("{\"a\": \"x\ny\"} and more"), Ok(json!({"a": "x\ny"})));
        assert_eq!(first("{\"a\": 1}{\"a\": 2}"), Ok(json!({"a": 1})));
        assert!(first("no").is_err());
        assert!(first("").is_err());
    }

    #[test]
    fn keeps_complete_members() {
        for (text, value) in [
            (r#"{"a": 1, "b": "he"#, json!({"a": 1})),
            (r#"{"a": 1, "b": "he""#, json!({"a": 1, "b": "he"})),
            (r#"{"a": [1, 2], "b": {"c": "d", "e"#, json!({"a": [1, 2], "b": {"c": "d"}})),
            (r#"{"a": "x\"}", "b": [{}, "#, json!({"a": "x\"}", "b": [{}]})),
            ("{", json!({})),
        ] {
            assert_eq!(whole_or_cut(text), Ok(value), "{text}");
        }
        assert!(whole_or_cut("plain").is_err());
        assert!(whole_or_cut("{a: 1, b").is_err());
        assert!(whole_or_cut("{broken").is_err());
    }

    #[test]
    fn finds_matching_brackets() {
        assert_eq!(bracketed("so: {\"a\": \"}\"} ok"), Some("{\"a\": \"}\"}"));
        assert_eq!(bracketed("[1, {]"), None);
        assert_eq!(bracketed("none"), None);
    }
}
