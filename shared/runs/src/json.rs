//! JSON that others wrote: how deep, how many and how large its values are, judged before memory is spent on them.

use serde_json::Value;
use std::mem::size_of;

/// How deep the JSON of an input or an output may be nested: what is wrapped around it in a log must be readable again,
/// and `serde_json` reads 127 levels.
pub const MAX_NESTING: usize = 100;

/// How many values the JSON of a request may hold.
///
/// Each object, array, scalar and key counts. A value takes up to 160 bytes of memory and two of text, so that bytes alone
/// bound nothing; and a run holds its input several times. These are 20 MB for each time, and room for 80 embeddings of
/// 1,536 numbers.
pub const MAX_INPUT_VALUES: usize = 125_000;

/// How many values the output of a node may hold: 650 embeddings of 1,536 numbers.
pub const MAX_OUTPUT_VALUES: usize = 1_000_000;

/// How many bytes the output of a node may have as JSON.
pub const MAX_OUTPUT_BYTES: usize = 32 << 20;

/// How many bytes of memory the output of a node may take.
pub const MAX_OUTPUT_MEMORY: usize = 96 << 20;

/// Whether a value is nested deeper than [`MAX_NESTING`].
pub fn is_too_deep(value: &Value) -> bool {
    fn deeper_than(limit: usize, value: &Value) -> bool {
        match value {
            Value::Array(_) | Value::Object(_) if limit == 0 => true,
            Value::Array(items) => items.iter().any(|item| deeper_than(limit - 1, item)),
            Value::Object(fields) => fields.values().any(|field| deeper_than(limit - 1, field)),
            _ => false,
        }
    }
    deeper_than(MAX_NESTING, value)
}

/// Why JSON was not read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It holds too many values.
    #[error("holds more than {most} values (each object, array, scalar and key counts)")]
    TooManyValues {
        /// How many it may hold.
        most: usize,
    },
    /// It is no JSON.
    #[error(transparent)]
    Invalid(#[from] serde_json::Error),
}

/// Reads JSON up to a limit on its values, which are counted before anything is parsed.
pub fn parse_json(text: &[u8], most_values: usize) -> Result<Value, JsonError> {
    if holds_more_values(text, most_values) {
        return Err(JsonError::TooManyValues { most: most_values });
    }
    Ok(serde_json::from_slice(text)?)
}

/// How deep `serde_json` reads.
const READ_NESTING: usize = 127;

/// Whether JSON holds more than `most` values. Counting ends where the text is nested too deep to be parsed.
pub fn holds_more_values(text: &[u8], most: usize) -> bool {
    // A value takes two bytes at least, with the comma or the bracket that ends it.
    if text.len() / 2 < most {
        return false;
    }
    let (mut count, mut depth) = (0, 0_usize);
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {
                rest = after;
                continue;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                rest = after;
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > READ_NESTING {
                    return false;
                }
                after
            }
            b'"' => after_string(after),
            _ => {
                let ends =
                    |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}');
                &after[after.iter().position(ends).unwrap_or(after.len())..]
            }
        };
        count += 1;
        if count > most {
            return true;
        }
    }
    false
}

/// What follows a string, whose opening quote is gone.
fn after_string(mut text: &[u8]) -> &[u8] {
    while let Some(at) = text.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        if text[at] == b'"' {
            return &text[at + 1..];
        }
        text = text.get(at + 2..).unwrap_or_default();
    }
    &[]
}

/// How large a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Objects, arrays, scalars and keys.
    pub values: usize,
    /// As JSON; a number counts as twelve.
    pub bytes: usize,
    /// In memory, by about a fifth.
    pub memory: usize,
    /// Of objects and arrays in each other, counted to one more than [`MAX_NESTING`]. What is deeper is not looked at.
    pub depth: usize,
}

/// What an entry of an object takes in memory beside its value and the characters of its key: hash, key and a place in the
/// table; and as many entries room is made for at least.
const ENTRY: (usize, usize) = (56, 4);

impl Size {
    /// The size of a value.
    pub fn of(value: &Value) -> Self {
        let mut size = Self::default();
        size.add(value, 1);
        size
    }

    fn add(&mut self, value: &Value, depth: usize) {
        self.values += 1;
        self.memory += size_of::<Value>();
        match value {
            Value::Null | Value::Bool(_) => self.bytes += 5,
            Value::Number(_) => self.bytes += 12,
            Value::String(text) => {
                self.bytes += text.len() + 3;
                self.memory += text.len();
            }
            Value::Array(items) => {
                self.bytes += 3;
                if self.enter(depth) {
                    for item in items {
                        self.add(item, depth + 1);
                    }
                }
            }
            Value::Object(fields) => {
                self.bytes += 3;
                if !fields.is_empty() {
                    let spare = ENTRY.1.saturating_sub(fields.len()) * size_of::<Value>();
                    self.memory += fields.len().max(ENTRY.1) * ENTRY.0 + spare;
                }
                if self.enter(depth) {
                    for (key, field) in fields {
                        self.values += 1;
                        self.bytes += key.len() + 4;
                        self.memory += key.len().max(24);
                        self.add(field, depth + 1);
                    }
                }
            }
        }
    }

    fn enter(&mut self, depth: usize) -> bool {
        self.depth = self.depth.max(depth);
        depth <= MAX_NESTING
    }
}

impl std::ops::Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            values: self.values.saturating_add(other.values),
            bytes: self.bytes.saturating_add(other.bytes),
            memory: self.memory.saturating_add(other.memory),
            depth: self.depth.max(other.depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{JsonError, MAX_NESTING, Size, holds_more_values, is_too_deep, parse_json};
    use serde_json::{Value, json};

    #[test]
    fn values_are_counted_as_they_are_in_memory() {
        let texts = [
            "null",
            "[]",
            "{}",
            r#"{"a":{"b":[1,-2.5e3,true,"x,\"y\\",null]},"\"":""}"#,
            " [ { } , [ [ ] ] , \"a:b,c]\" ] ",
            r#"[1,[2,[3,[4,[5]]]],"\u0041\\","\\\"",{"k":{"k":{"k":0}}}]"#,
        ];
        for text in texts {
            let value: Value = serde_json::from_str(text).unwrap();
            let Size { values, .. } = Size::of(&value);
            // The text is longer than what is taken for granted.
            let padded = format!("{text}{}", " ".repeat(2 * values + 2));
            assert!(!holds_more_values(padded.as_bytes(), values), "{text}");
            assert!(holds_more_values(padded.as_bytes(), values - 1), "{text}");
        }
    }

    #[test]
    fn short_text_cannot_hold_many_values() {
        for most in [1_usize, 2, 3, 10, 1000] {
            for piece in ["1,", "[],", "{},", "\"\",", "{\"\":1},"] {
                let text = format!("[{}", piece.repeat(most * 2));
                let counted = {
                    let padded = format!("{text}{}", " ".repeat(8 * most + 8));
                    holds_more_values(padded.as_bytes(), most)
                };
                assert!(counted, "{piece} {most}");
            }
            let fits = format!("[{}1]", "1,".repeat(most.saturating_sub(2)));
            assert_eq!(
                parse_json(fits.as_bytes(), most.max(2)).ok().map(|value| Size::of(&value).values),
                Some(most.max(2))
            );
        }
        assert!(matches!(parse_json(b"[1,1,1]", 3), Err(JsonError::TooManyValues { most: 3 })));
        assert!(matches!(parse_json(b"[1,1,1", 30), Err(JsonError::Invalid(_))));
        assert!(matches!(
            parse_json(b"\"never ends", 1),
            Err(JsonError::Invalid(_) | JsonError::TooManyValues { .. })
        ));
    }

    #[test]
    fn sizes_follow_the_text() {
        let value = json!({ "text": "x".repeat(1000), "list": [1, 2.5, null, true], "more": { "a": "b" } });
        let (size, text) = (Size::of(&value), value.to_string());
        assert!(size.bytes >= text.len() && size.bytes < text.len() + 100, "{size:?} {}", text.len());
        assert!(size.memory > text.len());
        assert_eq!((size.values, size.depth), (13, 2));
    }

    #[test]
    fn what_is_too_deep_is_not_followed() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(!is_too_deep(&nested(MAX_NESTING)) && is_too_deep(&nested(MAX_NESTING + 1)));
        assert_eq!(Size::of(&nested(MAX_NESTING)).depth, MAX_NESTING);
        assert_eq!(Size::of(&nested(1000)).depth, MAX_NESTING + 1);
    }
}
