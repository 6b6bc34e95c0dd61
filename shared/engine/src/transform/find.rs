//! The matches of a path in JSON, with the coercions and errors of `jsonpath-ng`.

use super::path::Path;
use crate::{
    compute,
    flow::{LIMIT_EXCEEDED, NodeError},
};
use serde_json::Value;
use std::{borrow::Cow, rc::Rc};

/// Values that one path may visit.
const MAX_STEPS: usize = 1_000_000;
/// How deep following a path may recurse: more than the limits on nested paths and nested JSON in total.
const MAX_DEPTH: usize = 400;
/// Values, and bytes of text, in all matches of a path that has several.
const MAX_VALUES: usize = 1_000_000;
const MAX_BYTES: usize = 64 << 20;

/// Why a path cannot be followed: Python's name of the error, and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FindError {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl FindError {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The error if the computation has used up its budget. The computation reports that itself.
    pub(super) fn stopped() -> Self {
        Self::limit("a path or selector took too many steps".into())
    }

    fn limit(message: String) -> Self {
        Self::new(LIMIT_EXCEEDED, message)
    }

    /// Converts to a node's error by `wrap`, unless a limit was exceeded.
    pub(crate) fn into_node(self, wrap: impl FnOnce(Self) -> NodeError) -> NodeError {
        if self.kind == LIMIT_EXCEEDED { NodeError::limit_exceeded(self.message) } else { wrap(self) }
    }
}

/// All matches of `path` in `data`, in order.
pub(crate) fn find<'v>(path: &Path, data: &'v Value) -> Result<Vec<Cow<'v, Value>>, FindError> {
    let root = Rc::new(Datum { value: Cow::Borrowed(data), within: None });
    let mut search = Search { steps: MAX_STEPS, depth: 0 };
    let found = search.matches(path, &root)?;
    drop(root);
    let found: Vec<Cow<'v, Value>> = found.into_iter().map(Datum::into_value).collect();
    if found.len() > 1 {
        let (mut values, mut bytes) = (MAX_VALUES, MAX_BYTES);
        for value in &found {
            compute::walk(value).map_err(|_| FindError::stopped())?;
            if !fits(value, &mut values, &mut bytes) {
                return Err(FindError::limit(format!(
                    "a path selects more than {MAX_VALUES} values or {} MiB of text; select less",
                    MAX_BYTES >> 20
                )));
            }
        }
    }
    Ok(found)
}

/// Subtracts the size of a value from the remaining `values` and `bytes`; returns whether it fits.
fn fits(value: &Value, values: &mut usize, bytes: &mut usize) -> bool {
    let mut take = |text: usize| {
        *values = values.checked_sub(1)?;
        *bytes = bytes.checked_sub(text)?;
        Some(())
    };
    match value {
        Value::String(text) => take(text.len()).is_some(),
        Value::Array(items) => take(0).is_some() && items.iter().all(|item| fits(item, values, bytes)),
        Value::Object(map) => {
            let keys = map.keys().map(String::len).sum();
            take(keys).is_some() && map.values().all(|value| fits(value, values, bytes))
        }
        _ => take(0).is_some(),
    }
}

/// A value and the value that contains it.
struct Datum<'v> {
    /// Owned only for a character of a text.
    value: Cow<'v, Value>,
    within: Option<Found<'v>>,
}

/// Shared by the values that were found in it.
type Found<'v> = Rc<Datum<'v>>;

impl<'v> Datum<'v> {
    fn child(self: &Rc<Self>, value: &'v Value) -> Found<'v> {
        Rc::new(Self { value: Cow::Borrowed(value), within: Some(Rc::clone(self)) })
    }

    fn borrowed(&self) -> Option<&'v Value> {
        match self.value {
            Cow::Borrowed(value) => Some(value),
            Cow::Owned(_) => None,
        }
    }

    fn into_value(self: Rc<Self>) -> Cow<'v, Value> {
        match Rc::try_unwrap(self) {
            Ok(datum) => datum.value,
            Err(shared) => shared.value.clone(),
        }
    }
}

/// One search, and its remaining budget.
struct Search {
    steps: usize,
    depth: usize,
}

impl Search {
    fn charge(&mut self, steps: usize) -> Result<(), FindError> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                compute::step(steps as u64).map_err(|_| FindError::stopped())
            }
            None => Err(FindError::limit(format!(
                "a path visits more than {MAX_STEPS} values; use fewer `..` and `*`"
            ))),
        }
    }

    fn deeper<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T, FindError>) -> Result<T, FindError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FindError::limit(format!("a path leads more than {MAX_DEPTH} levels deep")));
        }
        let done = part(self)?;
        self.depth -= 1;
        Ok(done)
    }

    fn matches<'v>(&mut self, path: &Path, datum: &Found<'v>) -> Result<Vec<Found<'v>>, FindError> {
        self.charge(1)?;
        match path {
            Path::Root => {
                let mut root = datum;
                while let Some(within) = &root.within {
                    self.charge(1)?;
                    root = within;
                }
                Ok(vec![Rc::clone(root)])
            }
            Path::This => Ok(vec![Rc::clone(datum)]),
            Path::Parent => match &datum.within {
                Some(within) => Ok(vec![Rc::clone(within)]),
                None => Err(FindError::new("AttributeError", "the root has no parent")),
            },
            Path::Fields(names) => self.fields(names, datum),
            Path::Index(index) => self.at(*index, datum),
            Path::Slice { start, end, step } => self.slice([*start, *end, *step], datum),
            Path::Child(left, right) => {
                let mut found = Vec::new();
                for datum in self.deeper(|search| search.matches(left, datum))? {
                    found.extend(self.deeper(|search| search.matches(right, &datum))?);
                }
                Ok(found)
            }
            Path::Descendants(left, right) => {
                let mut found = Vec::new();
                for datum in self.deeper(|search| search.matches(left, datum))? {
                    self.descend(right, &datum, &mut found)?;
                }
                Ok(found)
            }
            Path::Where(left, right) => {
                let mut found = Vec::new();
                for datum in self.deeper(|search| search.matches(left, datum))? {
                    if !self.deeper(|search| search.matches(right, &datum))?.is_empty() {
                        found.push(datum);
                    }
                }
                Ok(found)
            }
            Path::Union(left, right) => {
                let mut found = self.deeper(|search| search.matches(left, datum))?;
                found.extend(self.deeper(|search| search.matches(right, datum))?);
                Ok(found)
            }
            Path::Intersect(..) => Err(FindError::new("NotImplementedError", "")),
        }
    }

    fn fields<'v>(&mut self, names: &[String], datum: &Found<'v>) -> Result<Vec<Found<'v>>, FindError> {
        let Some(Value::Object(map)) = datum.borrowed() else { return Ok(Vec::new()) };
        if names.iter().any(|name| name == "*") {
            self.charge(map.len())?;
            return Ok(map.values().map(|value| datum.child(value)).collect());
        }
        self.charge(names.len())?;
        Ok(names.iter().filter_map(|name| map.get(name)).map(|value| datum.child(value)).collect())
    }

    fn at<'v>(&mut self, index: i64, datum: &Found<'v>) -> Result<Vec<Found<'v>>, FindError> {
        if is_falsy(&datum.value) {
            return Ok(Vec::new());
        }
        let out_of_range =
            |what: &str| Err(FindError::new("IndexError", format!("{what} index out of range")));
        let is_beyond = |length: usize| i64::try_from(length).is_ok_and(|length| length <= index);
        match (datum.borrowed(), &*datum.value) {
            (Some(Value::Array(items)), _) if is_beyond(items.len()) => Ok(Vec::new()),
            (Some(Value::Array(items)), _) => match position(index, items.len()) {
                Some(position) => Ok(vec![datum.child(&items[position])]),
                None => out_of_range("list"),
            },
            (Some(Value::Object(map)), _) if is_beyond(map.len()) => Ok(Vec::new()),
            (Some(Value::Object(_)), _) => Err(FindError::new("KeyError", index.to_string())),
            (_, Value::String(text)) => {
                // Both the length and the character are found by iterating over the text.
                self.charge(text.len() / 16)?;
                let length = text.chars().count();
                match position(index, length) {
                    _ if is_beyond(length) => Ok(Vec::new()),
                    Some(position) => {
                        let character = text.chars().nth(position).map(String::from).unwrap_or_default();
                        let value = Cow::Owned(Value::String(character));
                        Ok(vec![Rc::new(Datum { value, within: Some(Rc::clone(datum)) })])
                    }
                    None => out_of_range("string"),
                }
            }
            _ => Err(FindError::new("TypeError", "object has no len()")),
        }
    }

    /// A slice treats other values as a list of one item.
    fn slice<'v>(
        &mut self,
        [start, end, step]: [Option<i64>; 3],
        datum: &Found<'v>,
    ) -> Result<Vec<Found<'v>>, FindError> {
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
        let indexes = slice_indexes(start, end, step, length)?;
        self.charge(indexes.len())?;
        Ok(match datum.borrowed() {
            Some(Value::Array(items)) => {
                indexes.into_iter().map(|index| datum.child(&items[index])).collect()
            }
            _ => indexes.into_iter().map(|_| Rc::clone(datum)).collect(),
        })
    }

    fn descend<'v>(
        &mut self,
        right: &Path,
        datum: &Found<'v>,
        found: &mut Vec<Found<'v>>,
    ) -> Result<(), FindError> {
        found.extend(self.deeper(|search| search.matches(right, datum))?);
        match datum.borrowed() {
            Some(Value::Array(items)) => {
                for item in items {
                    self.deeper(|search| search.descend(right, &datum.child(item), found))?;
                }
            }
            Some(Value::Object(map)) => {
                for value in map.values() {
                    self.deeper(|search| search.descend(right, &datum.child(value), found))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the value is false in Python.
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

/// The position in a list of an index, which counts from the end if negative.
fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let position = if index < 0 { index + length } else { index };
    usize::try_from(position)
        .ok()
        .filter(|position| i64::try_from(*position).is_ok_and(|position| position < length))
}

/// The indexes that Python's `[start:end:step]` selects in a list.
fn slice_indexes(
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
    let bound = |index: Option<i64>, missing: i64| match index {
        None => missing,
        Some(index) if index < 0 => index.saturating_add(length).max(lowest),
        Some(index) => index.min(highest),
    };
    let (mut index, end) = if step > 0 {
        (bound(start, lowest), bound(end, highest))
    } else {
        (bound(start, highest), bound(end, lowest))
    };
    let mut indexes = Vec::new();
    while (step > 0 && index < end) || (step < 0 && index > end) {
        indexes.extend(usize::try_from(index));
        index = index.saturating_add(step);
    }
    Ok(indexes)
}
