//! Methods of Python's text and lists that the template library lacks.

use super::exceeded;
use crate::compute::{self, Exceeded};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{ValueKind, from_args},
};
use minijinja_contrib::pycompat;

/// Calls a method of a value; an error if it has no such method.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let found = match value.kind() {
        ValueKind::String => of_text(value.as_str().unwrap_or_default(), method, args)?,
        ValueKind::Seq => of_list(value, method, args)?,
        _ => None,
    };
    if let Some(value) = found {
        return Ok(value);
    }
    charge(value, method, args).map_err(exceeded)?;
    pycompat::unknown_method_callback(state, value, method, args)
}

/// Charges for what a method of the library will create, if the library does not charge itself.
fn charge(value: &Value, method: &str, args: &[Value]) -> Result<(), Exceeded> {
    let text = value.as_str().unwrap_or_default();
    let argument = |position: usize| args.get(position).and_then(Value::as_str);
    let occurrences = |part: Option<&str>| part.map_or(text.len(), |part| text.matches(part).count());
    compute::make(text.len())?;
    match method {
        // Each item of a list takes 24 bytes. Every occurrence of the separator may add one.
        "split" => compute::make(occurrences(argument(0)).saturating_mul(24)),
        "splitlines" => compute::make(occurrences(Some("\n")).saturating_mul(24)),
        "replace" => {
            let longer = argument(1).map_or(0, str::len);
            compute::make(occurrences(argument(0)).saturating_mul(longer))
        }
        "format" => compute::make(widths(text)),
        "join" => match args.first().and_then(Value::len) {
            Some(items) => compute::make(items.saturating_mul(text.len() + 1)),
            None => Ok(()),
        },
        "count" => compute::step(value.len().unwrap_or_default().try_into().unwrap_or(u64::MAX)),
        _ => Ok(()),
    }
}

/// The sum of the widths and precisions in the fields of a format.
fn widths(format: &str) -> usize {
    let mut sum = 0_usize;
    let mut number = 0_usize;
    let mut depth = 0_usize;
    for character in format.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(digit) = character.to_digit(10).filter(|_| depth > 0) {
            number = number.saturating_mul(10).saturating_add(digit as usize);
        } else {
            sum = sum.saturating_add(number);
            number = 0;
        }
    }
    sum
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let padded = |left_padding: fn(usize, usize) -> usize| -> Result<Value, Error> {
        let (width, fill): (usize, Option<String>) = from_args(args)?;
        let missing = width.saturating_sub(text.chars().count());
        let left = left_padding(missing, width);
        let fill = fill.unwrap_or_else(|| " ".into());
        compute::make(missing.saturating_mul(fill.len()).saturating_add(text.len())).map_err(exceeded)?;
        Ok(Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))))
    };
    let one = || -> Result<String, Error> { Ok(from_args::<(String,)>(args)?.0) };
    Ok(Some(match method {
        "center" => padded(|missing, width| missing / 2 + (missing & width & 1))?,
        "ljust" => padded(|_, _| 0)?,
        "rjust" => padded(|missing, _| missing)?,
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let missing = width.saturating_sub(text.chars().count());
            compute::make(missing.saturating_add(text.len())).map_err(exceeded)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        "swapcase" => {
            let swapped = text.chars().flat_map(|character| {
                if character.is_uppercase() {
                    character.to_lowercase().collect::<Vec<_>>()
                } else {
                    character.to_uppercase().collect()
                }
            });
            Value::from(swapped.collect::<String>())
        }
        "casefold" => Value::from(text.to_lowercase()),
        "isalpha" => all_match(text, char::is_alphabetic),
        "isspace" => all_match(text, char::is_whitespace),
        "isdecimal" => all_match(text, |character| character.is_ascii_digit()),
        "removeprefix" => Value::from(text.strip_prefix(one()?.as_str()).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(one()?.as_str()).unwrap_or(text)),
        "partition" | "rpartition" => {
            let separator = one()?;
            let parts = if method == "partition" {
                text.split_once(separator.as_str())
            } else {
                text.rsplit_once(separator.as_str())
            };
            let parts = match (parts, method) {
                (Some((before, after)), _) => [before, &separator, after],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            Value::from(parts.map(Value::from).to_vec())
        }
        "index" | "rindex" => {
            let part = one()?;
            let position = if method == "index" { text.find(&part) } else { text.rfind(&part) };
            let missing = || Error::new(ErrorKind::InvalidOperation, "substring not found");
            Value::from(text[..position.ok_or_else(missing)?].chars().count())
        }
        _ => return Ok(None),
    }))
}

fn all_match(text: &str, is: fn(char) -> bool) -> Value {
    Value::from(!text.is_empty() && text.chars().all(is))
}

fn of_list(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    if method != "index" {
        return Ok(None);
    }
    let (wanted,): (Value,) = from_args(args)?;
    for (position, item) in value.try_iter()?.enumerate() {
        compute::step(1).map_err(exceeded)?;
        if item == wanted {
            return Ok(Some(Value::from(position)));
        }
    }
    Err(Error::new(ErrorKind::InvalidOperation, format!("{} is not in list", super::printed(&wanted)?)))
}
