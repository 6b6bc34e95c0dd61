//! Limits on untrusted JSON: nesting, number and size of values, checked before memory is allocated for them.

use serde_json::Value;
use std::mem::size_of;

/// Maximum nesting of the JSON of an input or an output. Lower than the 127 levels that `serde_json` reads, since a log
/// wraps it in further levels.
pub const MAX_NESTING: usize = 100;

/// Maximum number of values in the JSON of a request.
///
/// Each object, array, scalar and key counts. A value may take 160 bytes of memory but only two of text, so a limit on
/// bytes does not bound memory; and a run holds several copies of its input. The limit is 20 MB for each copy: enough
/// for 80 embeddings of 1,536 numbers.
pub const MAX_INPUT_VALUES: usize = 125_000;

/// Maximum number of values in the output of a node: 650 embeddings of 1,536 numbers.
pub const MAX_OUTPUT_VALUES: usize = 1_000_000;

/// Maximum size of the output of a node as JSON, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 32 << 20;

/// Maximum size of the output of a node in memory, in bytes.
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

/// Why JSON was not parsed.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It holds too many values.
    #[error("holds more than {most} values (each object, array, scalar and key counts)")]
    TooManyValues {
        /// The limit.
        most: usize,
    },
    /// It is not valid JSON.
    #[error(transparent)]
    Invalid(#[from] serde_json::Error),
}

/// Parses JSON with at most `max_values` values, which are counted before anything is parsed.
pub fn parse_json(text: &[u8], max_values: usize) -> Result<Value, JsonError> {
    if holds_more_values(text, max_values) {
        return Err(JsonError::TooManyValues { most: max_values });
    }
    Ok(serde_json::from_slice(text)?)
}

/// Maximum nesting that `serde_json` parses.
const MAX_PARSED_NESTING: usize = 127;

/// Whether JSON holds more than `max` values. Counting stops where the text is nested too deep to be parsed.
pub fn holds_more_values(text: &[u8], max: usize) -> bool {
    // A value takes at least two bytes, with the comma or the bracket that ends it.
    if text.len() / 2 < max {
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
                if depth > MAX_PARSED_NESTING {
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
        if count > max {
            return true;
        }
    }
    false
}

/// Returns what follows a string; `text` starts after its opening quote.
fn after_string(mut text: &[u8]) -> &[u8] {
    while let Some(at) = text.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        if text[at] == b'"' {
            return &text[at + 1..];
        }
        text = text.get(at + 2..).unwrap_or_default();
    }
    &[]
}

/// The size of a JSON value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Objects, arrays, scalars and keys.
    pub values: usize,
    /// Bytes as JSON; a number counts as twelve.
    pub bytes: usize,
    /// Bytes in memory, accurate to about a fifth.
    pub memory: usize,
    /// Nesting of objects and arrays, counted to one more than [`MAX_NESTING`]. Deeper values are not inspected.
    pub depth: usize,
}

/// Bytes of memory of an object's entry in addition to its value and the characters of its key (hash, key and table
/// slot), and the minimum number of entries that a table allocates.
const ENTRY_BYTES: usize = 56;
const MIN_ENTRIES: usize = 4;

impl Size {
    /// Measures a value.
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
                    let spare = MIN_ENTRIES.saturating_sub(fields.len()) * size_of::<Value>();
                    self.memory += fields.len().max(MIN_ENTRIES) * ENTRY_BYTES + spare;
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
    fn values_are_counted_in_text_as_in_memory() {
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
            // Padded, since the values of a short text are not counted.
            let padded = format!("{text}{}", " ".repeat(2 * values + 2));
            assert!(!holds_more_values(padded.as_bytes(), values), "{text}");
            assert!(holds_more_values(padded.as_bytes(), values - 1), "{text}");
        }
    }

    #[test]
    fn short_text_cannot_hold_many_values() {
        for max in [1_usize, 2, 3, 10, 1000] {
            for piece in ["1,", "[],", "{},", "\"\",", "{\"\":1},"] {
                let text = format!("[{}", piece.repeat(max * 2));
                let counted = {
                    let padded = format!("{text}{}", " ".repeat(8 * max + 8));
                    holds_more_values(padded.as_bytes(), max)
                };
                assert!(counted, "{piece} {max}");
            }
            let fits = format!("[{}1]", "1,".repeat(max.saturating_sub(2)));
            assert_eq!(
                parse_json(fits.as_bytes(), max.max(2)).ok().map(|value| Size::of(&value).values),
                Some(max.max(2))
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
    fn sizes_are_close_to_the_text() {
        let value = json!({ "text": "x".repeat(1000), "list": [1, 2.5, null, true], "more": { "a": "b" } });
        let (size, text) = (Size::of(&value), value.to_string());
        assert!(size.bytes >= text.len() && size.bytes < text.len() + 100, "{size:?} {}", text.len());
        assert!(size.memory > text.len());
        assert_eq!((size.values, size.depth), (13, 2));
    }

    #[test]
    fn values_that_are_nested_too_deep_are_not_inspected() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(!is_too_deep(&nested(MAX_NESTING)) && is_too_deep(&nested(MAX_NESTING + 1)));
        assert_eq!(Size::of(&nested(MAX_NESTING)).depth, MAX_NESTING);
        assert_eq!(Size::of(&nested(1000)).depth, MAX_NESTING + 1);
    }
}
