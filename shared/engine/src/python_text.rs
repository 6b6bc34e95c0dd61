//! Values as text, as Python writes them: workflow files rely on `str(True)` being `True`.

use crate::compute;
use serde_json::{Number, Value};
use std::fmt::Write as _;

/// Python's `str(value)`.
pub(crate) fn str(value: &Value) -> String {
    match value {
        Value::String(text) if compute::copy(text.len()).is_ok() => text.clone(),
        Value::String(_) => String::new(),
        other => repr(other),
    }
}

/// Python's `repr(value)`.
pub(crate) fn repr(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// The name of the value's Python type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// The integer that Python's `int` makes of the value without loss: of 5, 5.0, "5" and true.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "integral and within bounds, as just checked"
            )]
            Some(float as i64)
        }
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    }
}

/// Stops once the computation around it has exceeded its budget; the computation then fails, so the text is not used.
fn write(value: &Value, text: &mut String) {
    if compute::step(1).is_err() {
        return;
    }
    match value {
        Value::Null => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Number(number) => text.push_str(&number_text(number)),
        Value::String(string) => quote(string, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                quote(key, text);
                text.push_str(": ");
                write(value, text);
            }
            text.push('}');
        }
    }
}

/// A number as Python writes it, in text and in JSON.
pub(crate) fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float_text(float),
        _ => number.to_string(),
    }
}

/// The shortest digits that parse to the same number; with an exponent below 1e-4 and from 1e16.
fn float_text(float: f64) -> String {
    let scientific = format!("{float:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let Ok(exponent) = exponent.parse::<i32>() else { return scientific };
    if (-4..16).contains(&exponent) {
        let plain = format!("{float}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn quote(string: &str, text: &mut String) {
    // Most text keeps its length; an escape takes four bytes instead of one.
    if compute::make(string.len()).is_err() {
        return;
    }
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for character in string.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if character == quote => {
                text.push('\\');
                text.push(character);
            }
            _ if character.is_control() => {
                let code = u32::from(character);
                let _ =
                    if code < 0x100 { write!(text, "\\x{code:02x}") } else { write!(text, "\\u{code:04x}") };
            }
            _ => text.push(character),
        }
    }
    text.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn matches_python() {
        for (value, text) in [
            (json!(null), "None"),
            (json!(true), "True"),
            (json!(2.0), "2.0"),
            (json!(1e16), "1e+16"),
            (json!(1.5e-7), "1.5e-07"),
            (json!(123_456.789), "123456.789"),
            (json!(-3), "-3"),
            (json!("it's"), "it's"),
            (json!(["it's", "a\"b'", "\n\u{1}"]), r#"["it's", 'a"b\'', '\n\x01']"#),
            (json!({"a": [1, false]}), "{'a': [1, False]}"),
        ] {
            assert_eq!(str(&value), text);
        }
    }
}
