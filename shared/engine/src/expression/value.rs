//! Values of expressions: JSON, dates, and missing or unreadable values.

use crate::{
    compute::{self, Exceeded},
    python_text,
};
use jiff::civil::Date;
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;

/// A value. Lists and mappings of the record are borrowed.
#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// A list or mapping of the record.
    Json(&'a Value),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    Map(Vec<(Self, Self)>),
    /// A generator: true in Python, whatever its items.
    Lazy(Vec<Self>),
    Date(Date),
    /// Days from one date to another.
    Days(i64),
    Missing(Missing),
    Unreadable(Unreadable),
    /// A method of a value, at the end of a path that names no data.
    Method(Box<Self>, String),
}

/// A missing value.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    /// The error of any use.
    pub(crate) fault: Box<Fault>,
    /// Whether a helper returned it for blank input.
    pub(crate) blank: bool,
}

/// A value that a helper could not parse.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unreadable {
    pub(crate) reason: String,
    /// The value in the record.
    pub(crate) value: Value,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A value that it needs is missing; with the path, if there is one.
    Missing { message: String, path: Option<String> },
    /// It used an undefined value.
    Undefined(String),
    /// It used a value that could not be parsed.
    Unreadable(Unreadable),
    /// Any other error: the name of Python's exception, and its message.
    Failed(&'static str, String),
}

/// The computation ends in any case, even if the fault is caught.
impl From<Exceeded> for Fault {
    fn from(exceeded: Exceeded) -> Self {
        Self::Failed("LimitExceededError", exceeded.to_string())
    }
}

pub(crate) type Evaluated<'a> = Result<Val<'a>, Fault>;

impl Fault {
    pub(crate) fn missing_at(path: &str) -> Self {
        Self::Missing { message: format!("missing value for {path}"), path: Some(path.to_owned()) }
    }

    pub(crate) fn type_error(message: impl Into<String>) -> Self {
        Self::Failed("TypeError", message.into())
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Missing { message, .. } | Self::Undefined(message) | Self::Failed(_, message) => message,
            Self::Unreadable(unreadable) => &unreadable.reason,
        }
    }

    /// The name of the exception that the reference raises.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "MissingValue",
            Self::Undefined(_) => "UndefinedError",
            Self::Unreadable(_) => "UnreadableValue",
            Self::Failed(kind, _) => kind,
        }
    }
}

impl<'a> From<&'a Value> for Val<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::number(number),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(_) | Value::Object(_) => Self::Json(value),
        }
    }
}

/// Approximate bytes of a value, without its contents.
const VALUE_BYTES: usize = 64;

impl<'a> Val<'a> {
    /// Charges, by `count`, for what the value owns, not for what it borrows.
    pub(crate) fn weigh(&self, count: fn(usize) -> Result<(), Exceeded>) -> Result<(), Exceeded> {
        match self {
            Self::Text(text) => count(text.len()),
            Self::List(items) | Self::Tuple(items) | Self::Lazy(items) => {
                count(items.len().saturating_mul(VALUE_BYTES))?;
                items.iter().try_for_each(|item| item.weigh(count))
            }
            Self::Map(entries) => {
                count(entries.len().saturating_mul(2 * VALUE_BYTES))?;
                entries.iter().try_for_each(|(key, value)| {
                    key.weigh(count)?;
                    value.weigh(count)
                })
            }
            Self::Method(value, _) => value.weigh(count),
            _ => compute::step(1),
        }
    }

    pub(crate) fn number(number: &Number) -> Self {
        match number.as_i128() {
            Some(whole) => Self::Int(whole),
            None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// Converts JSON that is not part of the record.
    pub(crate) fn owned(value: Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.into_iter().map(Self::owned).collect()),
            Value::Object(map) => {
                Self::Map(map.into_iter().map(|(key, value)| (Self::Text(key), Self::owned(value))).collect())
            }
            Value::Null => Self::None,
            Value::Bool(flag) => Self::Bool(flag),
            Value::Number(number) => Self::number(&number),
            Value::String(text) => Self::Text(text),
        }
    }

    pub(crate) fn undefined(message: impl Into<String>) -> Self {
        Self::Missing(Missing { fault: Box::new(Fault::Undefined(message.into())), blank: false })
    }

    /// A helper's result for blank input.
    pub(crate) fn blank(message: impl Into<String>) -> Self {
        let fault = Fault::Missing { message: message.into(), path: None };
        Self::Missing(Missing { fault: Box::new(fault), blank: true })
    }

    pub(crate) fn is_blank_marker(&self) -> bool {
        matches!(self, Self::Missing(missing) if missing.blank)
    }

    /// Whether it is undefined or null.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::None | Self::Missing(_))
    }

    /// Whether it is missing or empty: text of white space, an empty list, a method instead of data.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::None | Self::Missing(_) | Self::Method(..) => true,
            Self::Text(text) => text.trim().is_empty(),
            Self::Json(value) => {
                value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
            }
            Self::List(items) | Self::Tuple(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// The value; the error of its use if it is missing or unreadable.
    pub(crate) fn used(self) -> Evaluated<'a> {
        match self {
            Self::Missing(missing) => Err(*missing.fault),
            Self::Unreadable(unreadable) => Err(Fault::Unreadable(unreadable)),
            value => Ok(value),
        }
    }

    /// Its items, if it is iterable. Empty in a computation that has exceeded its budget.
    pub(crate) fn items(&self) -> Option<Vec<Self>> {
        let charged = match self {
            Self::Text(text) => compute::make(text.len().saturating_mul(VALUE_BYTES)),
            Self::Json(Value::Array(items)) => items.iter().try_for_each(|item| match item {
                Value::String(text) => compute::copy(text.len()),
                _ => compute::step(1),
            }),
            Self::Json(Value::Object(map)) => map.keys().try_for_each(|key| compute::copy(key.len())),
            value => value.weigh(compute::copy),
        };
        if charged.is_err() {
            return Some(Vec::new());
        }
        Some(match self {
            Self::Json(Value::Array(items)) => items.iter().map(Self::from).collect(),
            Self::Json(Value::Object(map)) => map.keys().map(|key| Self::Text(key.clone())).collect(),
            Self::List(items) | Self::Tuple(items) | Self::Lazy(items) => items.clone(),
            Self::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::Text(text) => text.chars().map(|character| Self::Text(character.into())).collect(),
            _ => return None,
        })
    }

    /// Its entries, if it is a mapping. Empty in a computation that has exceeded its budget.
    pub(crate) fn entries(&self) -> Option<Vec<(Self, Self)>> {
        let charged = match self {
            Self::Json(Value::Object(map)) => map.iter().try_for_each(|(key, value)| {
                compute::copy(key.len().saturating_add(value.as_str().map_or(0, str::len)))
            }),
            value => value.weigh(compute::copy),
        };
        if charged.is_err() {
            return self.is_mapping().then(Vec::new);
        }
        match self {
            Self::Json(Value::Object(map)) => {
                Some(map.iter().map(|(key, value)| (Self::Text(key.clone()), Self::from(value))).collect())
            }
            Self::Map(entries) => Some(entries.clone()),
            _ => None,
        }
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self, Self::Json(Value::Object(_)) | Self::Map(_))
    }

    /// The value under a key of a mapping.
    pub(crate) fn entry(&self, key: &Self) -> Option<Self> {
        match (self, key) {
            (Self::Json(Value::Object(map)), Self::Text(key)) => map.get(key).map(Self::from),
            (Self::Map(entries), _) => {
                let found = entries.iter().find(|(known, _)| equal(known, key)).map(|(_, value)| value);
                found.filter(|value| value.weigh(compute::copy).is_ok()).cloned()
            }
            _ => None,
        }
    }

    /// The number of its items or characters.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::Text(text) => {
                let _ = compute::copy(text.len());
                Some(text.chars().count())
            }
            Self::List(items) | Self::Tuple(items) => Some(items.len()),
            Self::Map(entries) => Some(entries.len()),
            Self::Json(Value::Array(items)) => Some(items.len()),
            Self::Json(Value::Object(map)) => Some(map.len()),
            _ => None,
        }
    }

    /// Python's `bool(value)`, for a value that is neither missing nor unreadable.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Days(days) => *days != 0,
            Self::Lazy(_) | Self::Date(_) | Self::Method(..) => true,
            Self::Text(text) => !text.is_empty(),
            _ => self.len().is_some_and(|len| len > 0),
        }
    }

    /// The name of Python's type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Map(_) => "dict",
            Self::Json(value) => python_text::type_name(value),
            Self::Lazy(_) => "generator",
            Self::Date(_) => "datetime.date",
            Self::Days(_) => "datetime.timedelta",
            Self::Missing(_) => "Undefined",
            Self::Unreadable(_) => "Unreadable",
            Self::Method(..) => "builtin_function_or_method",
        }
    }

    /// Python's `str(value)`.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) if compute::copy(text.len()).is_ok() => text.clone(),
            Self::Text(_) => String::new(),
            Self::Date(date) => date.to_string(),
            Self::Days(1) => "1 day, 0:00:00".into(),
            Self::Days(0) => "0:00:00".into(),
            Self::Days(days) => format!("{days} days, 0:00:00"),
            Self::Missing(_) => String::new(),
            _ => self.repr(),
        }
    }

    /// Python's `repr(value)`.
    pub(crate) fn repr(&self) -> String {
        if compute::step(1).is_err() {
            return String::new();
        }
        let join = |items: &[Self]| items.iter().map(Self::repr).collect::<Vec<_>>().join(", ");
        match self {
            Self::Date(date) => format!("datetime.date({}, {}, {})", date.year(), date.month(), date.day()),
            Self::Days(days) => format!("datetime.timedelta(days={days})"),
            Self::List(items) | Self::Lazy(items) => format!("[{}]", join(items)),
            Self::Tuple(items) if items.len() == 1 => format!("({},)", items[0].repr()),
            Self::Tuple(items) => format!("({})", join(items)),
            Self::Map(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{}: {}", key.repr(), value.repr())).collect();
                format!("{{{}}}", entries.join(", "))
            }
            Self::Float(number) if number.is_nan() => "nan".into(),
            Self::Float(number) if number.is_infinite() => if *number > 0.0 { "inf" } else { "-inf" }.into(),
            Self::Int(number) => number.to_string(),
            Self::Missing(_) => "Undefined".into(),
            Self::Unreadable(unreadable) => {
                format!("Unreadable({}, '{}')", python_text::repr(&unreadable.value), unreadable.reason)
            }
            Self::Method(_, name) => format!("{name}(…)"),
            plain => python_text::repr(&plain.json().unwrap_or_default()),
        }
    }

    /// The value as JSON: a missing value as null, a lazy one as a list, a date as text. An error for an unreadable
    /// value.
    pub(crate) fn json(&self) -> Result<Value, Fault> {
        compute::step(1)?;
        let list = |items: &[Self]| items.iter().map(Self::json).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::None | Self::Missing(_) | Self::Method(..) => Value::Null,
            Self::Bool(flag) => (*flag).into(),
            Self::Int(number) => match Number::from_i128(*number) {
                Some(number) => number.into(),
                None => self.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number),
            },
            Self::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Self::Text(text) => {
                compute::make(text.len())?;
                text.as_str().into()
            }
            Self::Json(value) => {
                compute::walk(value)?;
                (*value).clone()
            }
            Self::List(items) | Self::Tuple(items) | Self::Lazy(items) => list(items)?.into(),
            Self::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    map.insert(key.text(), value.json()?);
                }
                map.into()
            }
            Self::Date(_) | Self::Days(_) => self.text().into(),
            Self::Unreadable(unreadable) => return Err(Fault::Unreadable(unreadable.clone())),
        })
    }

    /// Replaces lazy values by lists and missing ones by null, to keep the value for later. Dates stay dates.
    pub(crate) fn concrete(self) -> Evaluated<'a> {
        let list = |items: Vec<Self>| items.into_iter().map(Self::concrete).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::Missing(_) | Self::Method(..) => Self::None,
            Self::Unreadable(unreadable) => return Err(Fault::Unreadable(unreadable)),
            Self::List(items) | Self::Lazy(items) => Self::List(list(items)?),
            Self::Tuple(items) => Self::Tuple(list(items)?),
            Self::Map(entries) => {
                let entry = |(key, value): (Self, Self)| Ok((key, value.concrete()?));
                Self::Map(entries.into_iter().map(entry).collect::<Result<_, Fault>>()?)
            }
            value => value,
        })
    }

    /// The value as a number; true is 1.
    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "as Python converts")]
            Self::Int(number) => Some(*number as f64),
            Self::Bool(flag) => Some(f64::from(u8::from(*flag))),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The value as an integer; true is 1.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(flag) => Some(i128::from(*flag)),
            _ => None,
        }
    }
}

/// Python's `==` between values that are not missing.
pub(crate) fn equal(left: &Val<'_>, right: &Val<'_>) -> bool {
    if compute::step(1).is_err() {
        return false;
    }
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return left == right;
    }
    #[expect(clippy::float_cmp, reason = "as Python compares")]
    if let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) {
        return left == right;
    }
    match (left, right) {
        (Val::None, Val::None) => true,
        (Val::Text(left), Val::Text(right)) => {
            left.len() == right.len() && compute::copy(left.len()).is_ok() && left == right
        }
        (Val::Date(left), Val::Date(right)) => left == right,
        (Val::Days(left), Val::Days(right)) => left == right,
        (Val::Missing(left), Val::Missing(right)) => left.blank == right.blank,
        (Val::Tuple(left), Val::Tuple(right)) => all_equal(left, right),
        (Val::Json(left), Val::Json(right)) => {
            compute::visit(left).is_ok() && crate::condition::equal(left, right)
        }
        _ if left.is_mapping() && right.is_mapping() => {
            let (left, right) = (left.entries().unwrap_or_default(), right.entries().unwrap_or_default());
            left.len() == right.len()
                && left.iter().all(|(key, value)| {
                    right.iter().any(|(other, found)| equal(key, other) && equal(value, found))
                })
        }
        _ if is_list(left) && is_list(right) => {
            all_equal(&left.items().unwrap_or_default(), &right.items().unwrap_or_default())
        }
        _ => false,
    }
}

fn is_list(value: &Val<'_>) -> bool {
    matches!(value, Val::List(_) | Val::Json(Value::Array(_)))
}

fn all_equal(left: &[Val<'_>], right: &[Val<'_>]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
}

/// Python's order. An error that names the sign for types without an order; `None` if one side is NaN.
pub(crate) fn order(left: &Val<'_>, right: &Val<'_>, sign: &str) -> Result<Option<Ordering>, Fault> {
    compute::step(1)?;
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return Ok(Some(left.cmp(&right)));
    }
    if let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) {
        return Ok(left.partial_cmp(&right));
    }
    match (left, right) {
        (Val::Text(left), Val::Text(right)) => {
            compute::copy(left.len().min(right.len()))?;
            return Ok(Some(left.cmp(right)));
        }
        (Val::Date(left), Val::Date(right)) => return Ok(Some(left.cmp(right))),
        (Val::Days(left), Val::Days(right)) => return Ok(Some(left.cmp(right))),
        _ => {}
    }
    let both = |test: fn(&Val<'_>) -> bool| test(left) && test(right);
    if both(is_list) || both(|value| matches!(value, Val::Tuple(_))) {
        let (left, right) = (left.items().unwrap_or_default(), right.items().unwrap_or_default());
        for (left, right) in left.iter().zip(&right) {
            if !equal(left, right) {
                return order(left, right, sign);
            }
        }
        return Ok(Some(left.len().cmp(&right.len())));
    }
    let (left, right) = (left.type_name(), right.type_name());
    Err(Fault::type_error(format!("'{sign}' not supported between instances of '{left}' and '{right}'")))
}
