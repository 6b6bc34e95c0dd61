//! How much JSON holds, counted before memory is spent on it.

use crate::flow::NodeError;
use serde_json::Value;

/// How many values the output of a job may hold; objects, arrays, scalars and keys count.
pub(crate) const MOST_VALUES: usize = 1_000_000;

/// How much JSON text a job may give, in bytes.
pub(crate) const MOST_OUTPUT: usize = 32 * 1024 * 1024;

/// How large a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Objects, arrays, scalars and keys.
    pub(crate) values: usize,
    /// As JSON, about; a number counts as twelve.
    pub(crate) bytes: usize,
}

impl Size {
    pub(crate) fn of(value: &Value) -> Self {
        let mut size = Self::default();
        size.add(value);
        size
    }

    /// Counts a value too; the error says that all of them are more than one node may give.
    pub(crate) fn take(&mut self, value: &Value) -> Result<(), NodeError> {
        self.add(value);
        if self.values > MOST_VALUES {
            return Err(NodeError::limit_exceeded(format!(
                "the output would hold more than {MOST_VALUES} values: divide the data, or have fewer documents made of it"
            )));
        }
        if self.bytes > MOST_OUTPUT {
            return Err(too_long());
        }
        Ok(())
    }

    fn add(&mut self, value: &Value) {
        self.values += 1;
        self.bytes += match value {
            Value::Null | Value::Bool(_) => 5,
            Value::Number(_) => 12,
            Value::String(text) => text.len() + 3,
            Value::Array(_) | Value::Object(_) => 3,
        };
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(map) => {
                for (key, item) in map {
                    self.values += 1;
                    self.bytes += key.len() + 4;
                    self.add(item);
                }
            }
            _ => {}
        }
    }
}

/// The error of an output of more than [`MOST_OUTPUT`].
pub(crate) fn too_long() -> NodeError {
    let most = MOST_OUTPUT >> 20;
    NodeError::limit_exceeded(format!("the output would have more than {most} MiB: divide the data"))
}

/// Whether JSON holds more than so many values. Of what is no JSON it says something.
pub(crate) fn holds_more_values(text: &[u8], most: usize) -> bool {
    let (mut count, mut place, mut in_word) = (0, 0, false);
    while let Some(byte) = text.get(place) {
        place += 1;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}' => in_word = false,
            b'"' => {
                count += 1;
                in_word = false;
                while let Some(byte) = text.get(place)
                    && *byte != b'"'
                {
                    place += if *byte == b'\\' { 2 } else { 1 };
                }
                place += 1;
            }
            b'[' | b'{' => {
                count += 1;
                in_word = false;
            }
            _ => {
                count += usize::from(!in_word);
                in_word = true;
            }
        }
        if count > most {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_holds_what_its_value_does() {
        for text in [
            "null",
            "[]",
            r#"{"a":{"b":[1,-2.5e3,true,"x,\"y\\",null]},"\"":""}"#,
            " [ { } , [ [ ] ] , \"a:b,c]\" ] ",
            r#"[1,[2,[3,[4,[5]]]],"\u0041\\","\\\"",{"k":{"k":{"k":0}}}]"#,
        ] {
            let count = Size::of(&serde_json::from_str(text).expect("JSON")).values;
            assert!(!holds_more_values(text.as_bytes(), count), "{text}");
            assert!(holds_more_values(text.as_bytes(), count - 1), "{text}");
        }
    }
}
