//! Methods of Python's text and lists that the engine's template library lacks.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{ValueKind, from_args},
};
use minijinja_contrib::pycompat;

/// The method of a value; an error if there is none.
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
    match found {
        Some(value) => Ok(value),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let padded = |place: fn(usize, usize) -> usize| -> Result<Value, Error> {
        let (width, fill): (usize, Option<String>) = from_args(args)?;
        let missing = width.saturating_sub(text.chars().count());
        let left = place(missing, width);
        let fill = fill.unwrap_or_else(|| " ".into());
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
        "isalpha" => every(text, char::is_alphabetic),
        "isspace" => every(text, char::is_whitespace),
        "isdecimal" => every(text, |character| character.is_ascii_digit()),
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
            let place = if method == "index" { text.find(&part) } else { text.rfind(&part) };
            let missing = || Error::new(ErrorKind::InvalidOperation, "substring not found");
            Value::from(text[..place.ok_or_else(missing)?].chars().count())
        }
        _ => return Ok(None),
    }))
}

fn every(text: &str, is: fn(char) -> bool) -> Value {
    Value::from(!text.is_empty() && text.chars().all(is))
}

fn of_list(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    if method != "index" {
        return Ok(None);
    }
    let (wanted,): (Value,) = from_args(args)?;
    let place = value.try_iter()?.position(|item| item == wanted);
    let missing = || Error::new(ErrorKind::InvalidOperation, format!("{wanted} is not in list"));
    Ok(Some(Value::from(place.ok_or_else(missing)?)))
}
