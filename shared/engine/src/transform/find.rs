//! What a path matches in JSON, coercions and refusals of `jsonpath-ng` included.

use super::path::Path;
use serde_json::Value;
use std::{borrow::Cow, rc::Rc};

/// Why a path cannot be followed: the name that Python gives the error, and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FindError {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl FindError {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// All that `path` matches in `data`, in order.
pub(crate) fn find<'v>(path: &Path, data: &'v Value) -> Result<Vec<Cow<'v, Value>>, FindError> {
    let datum = Datum { value: Cow::Borrowed(data), within: None };
    Ok(matches(path, &datum)?.into_iter().map(|datum| datum.value).collect())
}

/// A value and what it was found in.
#[derive(Clone)]
struct Datum<'v> {
    /// Owned only if it is a character of a text.
    value: Cow<'v, Value>,
    within: Option<Rc<Datum<'v>>>,
}

impl<'v> Datum<'v> {
    fn child(&self, value: &'v Value) -> Self {
        Self { value: Cow::Borrowed(value), within: Some(Rc::new(self.clone())) }
    }

    fn borrowed(&self) -> Option<&'v Value> {
        match self.value {
            Cow::Borrowed(value) => Some(value),
            Cow::Owned(_) => None,
        }
    }
}

fn matches<'v>(path: &Path, datum: &Datum<'v>) -> Result<Vec<Datum<'v>>, FindError> {
    match path {
        Path::Root => {
            let mut root = datum;
            while let Some(within) = &root.within {
                root = within;
            }
            Ok(vec![root.clone()])
        }
        Path::This => Ok(vec![datum.clone()]),
        Path::Parent => match &datum.within {
            Some(within) => Ok(vec![Datum::clone(within)]),
            None => Err(FindError::new("AttributeError", "the root has no parent")),
        },
        Path::Fields(names) => Ok(fields(names, datum)),
        Path::Index(index) => at(*index, datum),
        Path::Slice { start, end, step } => slice(*start, *end, *step, datum),
        Path::Child(left, right) => {
            let mut found = Vec::new();
            for datum in matches(left, datum)? {
                found.extend(matches(right, &datum)?);
            }
            Ok(found)
        }
        Path::Descendants(left, right) => {
            let mut found = Vec::new();
            for datum in matches(left, datum)? {
                descend(right, &datum, &mut found)?;
            }
            Ok(found)
        }
        Path::Where(left, right) => {
            let mut found = Vec::new();
            for datum in matches(left, datum)? {
                if !matches(right, &datum)?.is_empty() {
                    found.push(datum);
                }
            }
            Ok(found)
        }
        Path::Union(left, right) => {
            let mut found = matches(left, datum)?;
            found.extend(matches(right, datum)?);
            Ok(found)
        }
        Path::Intersect(..) => Err(FindError::new("NotImplementedError", "")),
    }
}

fn fields<'v>(names: &[String], datum: &Datum<'v>) -> Vec<Datum<'v>> {
    let Some(Value::Object(map)) = datum.borrowed() else { return Vec::new() };
    if names.iter().any(|name| name == "*") {
        return map.values().map(|value| datum.child(value)).collect();
    }
    names.iter().filter_map(|name| map.get(name)).map(|value| datum.child(value)).collect()
}

/// Whether Python takes the value for false.
pub(crate) fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn at<'v>(index: i64, datum: &Datum<'v>) -> Result<Vec<Datum<'v>>, FindError> {
    if is_falsy(&datum.value) {
        return Ok(Vec::new());
    }
    let out_of_range = |what: &str| Err(FindError::new("IndexError", format!("{what} index out of range")));
    let beyond = |length: usize| i64::try_from(length).is_ok_and(|length| length <= index);
    match (datum.borrowed(), &*datum.value) {
        (Some(Value::Array(items)), _) if beyond(items.len()) => Ok(Vec::new()),
        (Some(Value::Array(items)), _) => match position(index, items.len()) {
            Some(position) => Ok(vec![datum.child(&items[position])]),
            None => out_of_range("list"),
        },
        (Some(Value::Object(map)), _) if beyond(map.len()) => Ok(Vec::new()),
        (Some(Value::Object(_)), _) => Err(FindError::new("KeyError", index.to_string())),
        (_, Value::String(text)) => {
            let characters: Vec<char> = text.chars().collect();
            match position(index, characters.len()) {
                _ if beyond(characters.len()) => Ok(Vec::new()),
                Some(position) => {
                    let value = Cow::Owned(Value::String(characters[position].to_string()));
                    Ok(vec![Datum { value, within: Some(Rc::new(datum.clone())) }])
                }
                None => out_of_range("string"),
            }
        }
        _ => Err(FindError::new("TypeError", "object has no len()")),
    }
}

/// A place in a list, counted from the end if negative.
fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let place = if index < 0 { index + length } else { index };
    usize::try_from(place).ok().filter(|place| i64::try_from(*place).is_ok_and(|place| place < length))
}

/// A slice takes what is no list for a list of one.
fn slice<'v>(
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
    datum: &Datum<'v>,
) -> Result<Vec<Datum<'v>>, FindError> {
    if is_falsy(&datum.value) {
        return Ok(Vec::new());
    }
    let length = match &*datum.value {
        Value::Array(items) => items.len(),
        Value::Number(number) if number.is_f64() => {
            return Err(FindError::new("TypeError", "object of type 'float' has no len()"));
        }
        _ => 1,
    };
    let places = places(start, end, step, length)?;
    Ok(match datum.borrowed() {
        Some(Value::Array(items)) => places.into_iter().map(|place| datum.child(&items[place])).collect(),
        _ => places.into_iter().map(|_| datum.clone()).collect(),
    })
}

/// The places that `[start:end:step]` takes of a list, as Python counts them.
fn places(
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
    length: usize,
) -> Result<Vec<usize>, FindError> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(FindError::new("ValueError", "slice step cannot be zero"));
    }
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |place: Option<i64>, missing: i64| match place {
        None => missing,
        Some(place) if place < 0 => place.saturating_add(length).max(lowest),
        Some(place) => place.min(highest),
    };
    let (mut place, end) = if step > 0 {
        (bound(start, lowest), bound(end, highest))
    } else {
        (bound(start, highest), bound(end, lowest))
    };
    let mut places = Vec::new();
    while (step > 0 && place < end) || (step < 0 && place > end) {
        places.extend(usize::try_from(place));
        place = place.saturating_add(step);
    }
    Ok(places)
}

fn descend<'v>(right: &Path, datum: &Datum<'v>, found: &mut Vec<Datum<'v>>) -> Result<(), FindError> {
    found.extend(matches(right, datum)?);
    match datum.borrowed() {
        Some(Value::Array(items)) => {
            for item in items {
                descend(right, &datum.child(item), found)?;
            }
        }
        Some(Value::Object(map)) => {
            for value in map.values() {
                descend(right, &datum.child(value), found)?;
            }
        }
        _ => {}
    }
    Ok(())
}
