//! Jinja's filters that the template library lacks or implements differently.

#![expect(clippy::needless_pass_by_value, reason = "the library passes arguments to filters by value")]

use super::{FACTOR, KEPT, MEMBER, exceeded, json, printed};
use crate::{
    compute::{self, Exceeded},
    python_text,
};
use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{Kwargs, ObjectRepr, Rest},
};
use runyard_runs::MAX_NESTING;
use std::fmt::Write as _;

pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter(KEPT, kept);
    environment.add_filter(MEMBER, member);
    environment.add_filter(FACTOR, factor);
    environment.add_function("dict", |value: Option<Value>, more: Kwargs| {
        minijinja::functions::dict(value, more).and_then(kept)
    });
    environment.add_filter("batch", |state: &State, value: Value, count: usize, fill: Option<Value>| {
        minijinja::filters::batch(state, value, count, fill).and_then(kept)
    });
    environment.add_filter("slice", |state: &State, value: Value, count: usize, fill: Option<Value>| {
        minijinja::filters::slice(state, value, count, fill).and_then(kept)
    });
    environment.add_filter("center", center);
    environment.add_filter("e", escape);
    environment.add_filter("escape", escape);
    environment.add_filter("pprint", pprint);
    environment.add_filter("tojson", to_json);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordwrap", wordwrap);
}

/// Charges the budget for the value and everything in it.
fn kept(value: Value) -> Result<Value, Error> {
    charge(&value, 0)?;
    Ok(value)
}

/// Like [`kept`], for a value that becomes a member of a namespace. Refuses namespaces, which might then contain
/// themselves.
fn member(value: Value) -> Result<Value, Error> {
    charge(&value, 1)?;
    Ok(value)
}

/// Refuses a list as a factor: the library would repeat it a hundred million times at no charge, and then print it.
fn factor(value: Value) -> Result<Value, Error> {
    if value.as_object().is_some() {
        let message = format!("a {} cannot be multiplied in a template", value.kind());
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(value)
}

fn charge(value: &Value, depth: usize) -> Result<(), Error> {
    compute::step(1).map_err(exceeded)?;
    let Some(object) = value.as_object() else { return Ok(()) };
    let wrong = |problem: String| Err(Error::new(ErrorKind::InvalidOperation, problem));
    if depth > 0 && object.type_name().ends_with("::Namespace") {
        return wrong("a namespace cannot be part of another value".into());
    }
    if depth > MAX_NESTING {
        return wrong(format!("a value is nested deeper than {MAX_NESTING} levels"));
    }
    match object.repr() {
        ObjectRepr::Map => {
            for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                charge(&key, depth + 1)?;
                charge(&item, depth + 1)?;
            }
        }
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            for item in object.try_iter().into_iter().flatten() {
                charge(&item, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// An argument given by position or by name.
fn given(rest: &Rest<Value>, index: usize, kwargs: &Kwargs, name: &str) -> Result<Option<Value>, Error> {
    match rest.get(index) {
        Some(value) => Ok(Some(value.clone())),
        None => kwargs.get(name),
    }
}

fn argument<T>(rest: &Rest<Value>, index: usize, kwargs: &Kwargs, name: &str, default: T) -> Result<T, Error>
where
    T: TryFrom<Value, Error = Error>,
{
    given(rest, index, kwargs, name)?.map_or(Ok(default), T::try_from)
}

fn text(
    rest: &Rest<Value>,
    index: usize,
    kwargs: &Kwargs,
    name: &str,
    default: &str,
) -> Result<String, Error> {
    match given(rest, index, kwargs, name)? {
        Some(value) => printed(&value),
        None => Ok(default.to_owned()),
    }
}

fn width(width: i64) -> Result<usize, Error> {
    usize::try_from(width)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the width must not be negative"))
}

/// `center(width=80)`.
fn center(text: &str, rest: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let width = width(argument(&rest, 0, &kwargs, "width", 80)?)?;
    let length = text.chars().count();
    let padding = width.saturating_sub(length);
    compute::make(text.len().saturating_add(padding)).map_err(exceeded)?;
    let left = padding / 2 + (padding & width & 1);
    Ok(format!("{}{text}{}", " ".repeat(left), " ".repeat(padding - left)))
}

/// Replaces HTML's special characters by entities.
fn escape(value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    let plain = printed(value)?;
    // An entity has at most six bytes.
    compute::make(plain.len().saturating_mul(6)).map_err(exceeded)?;
    let mut escaped = String::new();
    for character in plain.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            plain => escaped.push(plain),
        }
    }
    Ok(Value::from_safe_string(escaped))
}

/// `tojson(indent=None)`: with sorted keys, ASCII only, without HTML's special characters.
fn to_json(value: &Value, rest: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = given(&rest, 0, &kwargs, "indent")?
        .filter(|indent| !indent.is_none())
        .map(usize::try_from)
        .transpose()?;
    let mut text = String::new();
    write_json(&json(value)?, indent.map(|indent| (indent, 0)), &mut text).map_err(exceeded)?;
    // An escape has at most six bytes for each byte that it replaces.
    compute::make(text.len().saturating_mul(6)).map_err(exceeded)?;
    let mut safe = String::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match char::from_u32(u32::from(unit)) {
            Some(plain) if plain.is_ascii() && !matches!(plain, '<' | '>' | '&' | '\'') => safe.push(plain),
            _ => {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    Ok(Value::from_safe_string(safe))
}

/// Writes JSON as Python does. `indent` is the width of a level, and the depth of this one.
fn write_json(
    value: &serde_json::Value,
    indent: Option<(usize, usize)>,
    text: &mut String,
) -> Result<(), Exceeded> {
    let line = |depth: usize, text: &mut String| {
        if let Some((width, level)) = indent {
            let width = width.saturating_mul(level + depth);
            compute::make(width)?;
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', width));
        }
        Ok(())
    };
    let deeper = indent.map(|(width, level)| (width, level + 1));
    let between = |index: usize, text: &mut String| match (index, indent) {
        (0, _) => line(1, text),
        (_, None) => {
            text.push_str(", ");
            Ok(())
        }
        _ => {
            text.push(',');
            line(1, text)
        }
    };
    compute::step(1)?;
    match value {
        serde_json::Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                between(index, text)?;
                write_json(item, deeper, text)?;
            }
            line(0, text)?;
            text.push(']');
        }
        serde_json::Value::Object(map) if !map.is_empty() => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                between(index, text)?;
                text.push_str(&serde_json::Value::from(key.as_str()).to_string());
                text.push_str(": ");
                write_json(value, deeper, text)?;
            }
            line(0, text)?;
            text.push('}');
        }
        serde_json::Value::Number(number) if number.is_f64() => text.push_str(&python_text::repr(value)),
        plain => text.push_str(&plain.to_string()),
    }
    Ok(())
}

/// Python's `repr`. Unlike Python's `pprint`, it does not break long lines.
fn pprint(value: &Value) -> Result<String, Error> {
    Ok(python_text::repr(&json(value)?))
}

/// `truncate(length=255, killwords=false, end='...', leeway=5)`.
fn truncate(text: &str, rest: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let length = width(argument(&rest, 0, &kwargs, "length", 255)?)?;
    let kill_words = argument(&rest, 1, &kwargs, "killwords", false)?;
    let end = self::text(&rest, 2, &kwargs, "end", "...")?;
    let leeway = width(argument(&rest, 3, &kwargs, "leeway", 5)?)?;
    // A character takes four bytes here.
    compute::make(text.len().saturating_mul(4)).map_err(exceeded)?;
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let kept: String = characters[..length.saturating_sub(end.chars().count())].iter().collect();
    let kept = if kill_words {
        kept.as_str()
    } else {
        kept.rsplit_once(' ').map_or(kept.as_str(), |(kept, _)| kept)
    };
    Ok(format!("{kept}{end}"))
}

/// `wordwrap(width=79, break_long_words=true, wrapstring='\n')`.
fn wordwrap(text: &str, rest: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let width = width(argument(&rest, 0, &kwargs, "width", 79)?)?.max(1);
    let break_long_words = argument(&rest, 1, &kwargs, "break_long_words", true)?;
    let between = self::text(&rest, 2, &kwargs, "wrapstring", "\n")?;
    // A character takes four bytes here, and may be a line by itself.
    compute::make(text.len().saturating_mul(8)).map_err(exceeded)?;
    let lines: Vec<String> = text.lines().flat_map(|line| wrap(line, width, break_long_words)).collect();
    compute::make(lines.len().saturating_mul(between.len())).map_err(exceeded)?;
    Ok(lines.join(&between))
}

fn wrap(line: &str, width: usize, break_long_words: bool) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in line.split(' ') {
        let letters: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + letters.len() <= width {
            length += 1 + letters.len();
            if let Some(last) = lines.last_mut() {
                last.push(' ');
                last.extend(letters);
            }
            continue;
        }
        let mut letters = letters.as_slice();
        while break_long_words && letters.len() > width {
            lines.push(letters[..width].iter().collect());
            letters = &letters[width..];
        }
        length = letters.len();
        lines.push(letters.iter().collect());
    }
    let first_is_blank = lines.len() > 1 && lines[0].is_empty();
    if first_is_blank { lines.split_off(1) } else { lines }
}
