//! Attributes and methods of Python's values.

use super::value::{Evaluated, Fault, Missing, Val};
use crate::{compute, template};
use jiff::civil::Date;
use serde_json::Value;

const OF_TEXT: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];
const OF_MAPPING: &[&str] = &["copy", "get", "items", "keys", "values"];
const OF_LIST: &[&str] = &["copy", "count", "index"];
const OF_DATE: &[&str] = &["isoformat", "isoweekday", "replace", "strftime", "weekday"];
/// Methods that change a value, which expressions may not call.
const MUTATING: &[&str] = &[
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
];

/// An attribute of a value that is not an entry of a mapping: a part of a date, or a method.
pub(super) fn attribute<'a>(value: &Val<'a>, name: &str) -> Option<Val<'a>> {
    let methods = match value {
        Val::Date(date) => {
            match name {
                "year" => return Some(Val::Int(date.year().into())),
                "month" => return Some(Val::Int(date.month().into())),
                "day" => return Some(Val::Int(date.day().into())),
                _ => {}
            }
            OF_DATE
        }
        Val::Days(days) => {
            return match name {
                "days" => Some(Val::Int((*days).into())),
                _ => None,
            };
        }
        Val::Text(_) => OF_TEXT,
        Val::Map(_) | Val::Json(Value::Object(_)) => OF_MAPPING,
        Val::List(_) | Val::Tuple(_) | Val::Json(Value::Array(_)) => OF_LIST,
        _ => &[],
    };
    let is_unsafe = name.starts_with("__") || (MUTATING.contains(&name) && !matches!(value, Val::Text(_)));
    if is_unsafe {
        let type_name = value.type_name();
        let message = format!("access to attribute '{name}' of '{type_name}' object is unsafe.");
        let fault = Box::new(Fault::Failed("SecurityError", message));
        return Some(Val::Missing(Missing { fault, blank: false }));
    }
    methods.contains(&name).then(|| Val::Method(Box::new(value.clone()), name.to_owned()))
}

/// Calls a method.
pub(super) fn call<'a>(
    value: &Val<'a>,
    name: &str,
    placed: Vec<Val<'a>>,
    named: Vec<(String, Val<'a>)>,
) -> Evaluated<'a> {
    compute::step(1)?;
    match (value, name) {
        (Val::Date(date), _) => of_date(*date, name, &placed),
        (_, "get") if value.is_mapping() => {
            let mut placed = placed.into_iter();
            let key = placed.next().ok_or_else(|| too_few(name))?.used()?;
            let fallback = placed.next().or_else(|| named.into_iter().next().map(|(_, value)| value));
            Ok(value.entry(&key).or(fallback).unwrap_or(Val::None))
        }
        (_, "items") if value.is_mapping() => {
            let pairs = value.entries().unwrap_or_default().into_iter();
            Ok(Val::List(pairs.map(|(key, value)| Val::Tuple(vec![key, value])).collect()))
        }
        (_, "keys" | "values") if value.is_mapping() => {
            let entries = value.entries().unwrap_or_default().into_iter();
            let side = |(key, value): (Val<'a>, Val<'a>)| if name == "keys" { key } else { value };
            Ok(Val::List(entries.map(side).collect()))
        }
        (_, "copy") => Ok(value.clone()),
        _ => {
            let mut arguments = Vec::with_capacity(placed.len());
            for argument in placed {
                arguments.push(argument.used()?.json()?);
            }
            let mut by_name = Vec::with_capacity(named.len());
            for (name, argument) in named {
                by_name.push((name, argument.used()?.json()?));
            }
            template::method(&value.json()?, name, &arguments, &by_name)
                .map(Val::owned)
                .map_err(|problem| Fault::Failed("ValueError", problem))
        }
    }
}

fn too_few(name: &str) -> Fault {
    Fault::type_error(format!("{name} expected at least 1 argument, got 0"))
}

fn of_date<'a>(date: Date, name: &str, placed: &[Val<'a>]) -> Evaluated<'a> {
    Ok(match name {
        "isoformat" => Val::Text(date.to_string()),
        "weekday" => Val::Int(date.weekday().to_monday_zero_offset().into()),
        "isoweekday" => Val::Int(date.weekday().to_monday_one_offset().into()),
        "strftime" => {
            let Some(Val::Text(format)) = placed.first() else { return Err(too_few(name)) };
            // A field of two characters may be written with as many as this for each.
            compute::make(format.len().saturating_mul(64))?;
            let written = jiff::fmt::strtime::format(format, date);
            Val::Text(written.map_err(|error| Fault::Failed("ValueError", error.to_string()))?)
        }
        _ => return Err(Fault::type_error(format!("the method `{name}` of a date is not known here"))),
    })
}
