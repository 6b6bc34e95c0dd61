//! The functions that an expression can call.

#![expect(clippy::needless_pass_by_value, reason = "operands are not used afterwards")]

use super::{
    dates::{amount, date, quoted},
    eval::{Evaluation, binary, days, too_large},
    value::{Evaluated, Fault, Unreadable, Val, order},
};
use crate::compute;
use jiff::civil::Date;
use std::cmp::Ordering;

/// The most numbers that `range` returns, as in Jinja's sandbox.
const MAX_RANGE: i128 = 100_000;

type Named<'a> = Vec<(String, Val<'a>)>;

impl<'a> Evaluation<'_, 'a> {
    pub(super) fn helper(&self, name: &str, placed: Vec<Val<'a>>, named: Named<'a>) -> Evaluated<'a> {
        compute::step(1)?;
        let get = |index: usize, key: &str| {
            let by_name = || named.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
            placed.get(index).cloned().or_else(by_name)
        };
        let first = |key: &str| {
            get(0, key)
                .ok_or_else(|| Fault::type_error(format!("{name}() missing 1 required argument: '{key}'")))
        };
        match name {
            "has" => match first("value")? {
                Val::Unreadable(unreadable) => Err(Fault::Unreadable(unreadable)),
                value => Ok(Val::Bool(!value.is_missing())),
            },
            "today" => Ok(Val::Date(self.today)),
            "text" => Ok(as_text(first("value")?)),
            "number" => self.as_number(first("value")?, get(1, "decimal")),
            "date" => self.as_date(first("value")?, get(1, "format")),
            "first_present" => {
                let present = placed.into_iter().find(|value| !value.is_blank());
                let nothing = || Val::blank("missing value: first_present() found nothing present");
                Ok(present.unwrap_or_else(nothing))
            }
            "days_between" => self.days_between(first("start")?, get(1, "end")),
            "len" => {
                let value = first("obj")?;
                if matches!(value, Val::Missing(_)) {
                    return self.items_of(&value).map(|_| Val::Int(0));
                }
                let value = value.used()?;
                let length = value.len().and_then(|length| i128::try_from(length).ok());
                let none =
                    || Fault::type_error(format!("object of type '{}' has no len()", value.type_name()));
                length.map(Val::Int).ok_or_else(none)
            }
            "abs" => absolute(first("x")?.used()?),
            "round" => rounded(first("number")?.used()?, get(1, "ndigits")),
            "sum" => self.sum(&first("iterable")?, get(1, "start").unwrap_or(Val::Int(0))),
            "min" | "max" => {
                let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
                let items = if placed.len() == 1 { self.items_of(&placed[0])? } else { placed.clone() };
                if items.is_empty() {
                    let fallback = named.iter().find(|(name, _)| name == "default");
                    let none = || Fault::Failed("ValueError", format!("{name}() arg is an empty sequence"));
                    return fallback.map(|(_, value)| value.clone()).ok_or_else(none);
                }
                extreme(items, wanted)
            }
            "range" => range(placed),
            "dict" => Ok(Val::Map(named.into_iter().map(|(key, value)| (Val::Text(key), value)).collect())),
            _ => Err(Fault::type_error(format!("`{name}` is not supported here"))),
        }
    }

    fn as_number(&self, value: Val<'a>, decimal: Option<Val<'a>>) -> Evaluated<'a> {
        let decimal = match decimal {
            None => '.',
            Some(Val::Text(text)) if text == "." => '.',
            Some(Val::Text(text)) if text == "," => ',',
            Some(other) => {
                let reason = format!(
                    "number() reads a decimal point '.' or a decimal comma ',', not {}",
                    other.repr()
                );
                self.misread(unreadable(&value, reason.clone()));
                return Err(Fault::Failed("ValueError", reason));
            }
        };
        if value.is_blank_marker() || matches!(value, Val::Unreadable(_)) {
            return Ok(value);
        }
        if value.is_blank() {
            return Ok(Val::blank(found_nothing("number() found no number", &value)));
        }
        let number = match &value {
            Val::Int(number) => Some(Val::Int(*number)),
            Val::Float(number) => number.is_finite().then_some(Val::Float(*number)),
            Val::Text(text) => amount(text, decimal),
            _ => None,
        };
        Ok(number.unwrap_or_else(|| {
            Val::Unreadable(self.misread(unreadable(&value, format!("not a number: {}", quoted(&value)))))
        }))
    }

    fn as_date(&self, value: Val<'a>, format: Option<Val<'a>>) -> Evaluated<'a> {
        if value.is_blank_marker() || matches!(value, Val::Unreadable(_)) {
            return Ok(value);
        }
        if value.is_blank() {
            return Ok(Val::blank(found_nothing("date() found no date", &value)));
        }
        let format = match &format {
            None | Some(Val::None) => None,
            Some(Val::Text(format)) => Some(format.as_str()),
            Some(other) => {
                let message = format!("strptime() argument 2 must be str, not {}", other.type_name());
                return Err(Fault::type_error(message));
            }
        };
        Ok(match date(&value, format) {
            Ok(date) => Val::Date(date),
            Err(reason) => Val::Unreadable(self.misread(unreadable(&value, reason))),
        })
    }

    fn days_between(&self, start: Val<'a>, end: Option<Val<'a>>) -> Evaluated<'a> {
        let end = end.ok_or_else(|| {
            Fault::type_error("days_between() missing 1 required positional argument: 'end'")
        })?;
        for value in [&start, &end] {
            if let Val::Unreadable(unreadable) = value {
                return Err(Fault::Unreadable(unreadable.clone()));
            }
        }
        let last = match self.day(&end) {
            Err(fault @ (Fault::Missing { .. } | Fault::Undefined(_))) => {
                // Evaluated only to record text that cannot be parsed.
                let _ = self.day(&start);
                return Err(fault);
            }
            last => last?,
        };
        Ok(Val::Int(days(self.day(&start)?, last).into()))
    }

    fn day(&self, value: &Val<'a>) -> Result<Date, Fault> {
        if matches!(value, Val::Text(text) if text.trim().is_empty()) {
            let message = "missing value: days_between() found no date".to_owned();
            return Err(Fault::Missing { message, path: None });
        }
        let value = value.clone().used()?;
        date(&value, None).map_err(|reason| {
            self.misread(unreadable(&value, reason.clone()));
            Fault::Failed("ValueError", reason)
        })
    }

    pub(super) fn sum(&self, value: &Val<'a>, start: Val<'a>) -> Evaluated<'a> {
        let items = self.items_of(value)?;
        items
            .into_iter()
            .try_fold(start, |sum, item| binary(super::parse::Operator::Add, sum.used()?, item.used()?))
    }
}

fn as_text(value: Val<'_>) -> Val<'_> {
    if value.is_blank_marker() || matches!(value, Val::Unreadable(_)) {
        return value;
    }
    if value.is_blank() {
        return Val::blank(found_nothing("text() found no text", &value));
    }
    Val::Text(value.text().trim().to_owned())
}

fn unreadable(value: &Val<'_>, reason: String) -> Unreadable {
    Unreadable { reason, value: value.json().unwrap_or_default() }
}

/// The message of a blank that a helper returned for a value.
fn found_nothing(what: &str, value: &Val<'_>) -> String {
    match value {
        Val::Missing(missing) => format!("missing value: {what} ({})", missing.fault.message()),
        _ => format!("missing value: {what}"),
    }
}

/// The minimum or the maximum.
pub(super) fn extreme(items: Vec<Val<'_>>, wanted: Ordering) -> Evaluated<'_> {
    let sign = if wanted == Ordering::Less { "<" } else { ">" };
    let mut items = items.into_iter();
    let Some(first) = items.next() else { return Ok(Val::None) };
    let mut extremum = first.used()?;
    for item in items {
        let item = item.used()?;
        if order(&item, &extremum, sign)? == Some(wanted) {
            extremum = item;
        }
    }
    Ok(extremum)
}

pub(super) fn absolute(value: Val<'_>) -> Evaluated<'_> {
    match value {
        Val::Bool(flag) => Ok(Val::Int(flag.into())),
        Val::Int(number) => Ok(Val::Int(number.saturating_abs())),
        Val::Float(number) => Ok(Val::Float(number.abs())),
        Val::Days(days) => Ok(Val::Days(days.abs())),
        other => Err(Fault::type_error(format!("bad operand type for abs(): '{}'", other.type_name()))),
    }
}

/// Python's `round`: rounds half to even, and returns an integer if no number of digits is given.
pub(super) fn rounded<'a>(value: Val<'a>, digits: Option<Val<'a>>) -> Evaluated<'a> {
    let digits = match digits.map(Val::used).transpose()? {
        None | Some(Val::None) => None,
        Some(digits) => {
            let type_name = digits.type_name();
            let Some(digits) = digits.as_int().and_then(|digits| i32::try_from(digits).ok()) else {
                let message = format!("'{type_name}' object cannot be interpreted as an integer");
                return Err(Fault::type_error(message));
            };
            Some(digits)
        }
    };
    match (value, digits) {
        (Val::Bool(flag), _) => Ok(Val::Int(flag.into())),
        (Val::Int(number), None) => Ok(Val::Int(number)),
        (Val::Int(number), Some(digits)) => whole(number, digits).map(Val::Int).ok_or_else(too_large),
        (Val::Float(number), None) => {
            #[expect(clippy::cast_possible_truncation, reason = "within bounds, as just checked")]
            let rounded = (number.abs() < 1e38).then(|| number.round_ties_even() as i128);
            rounded.map(Val::Int).ok_or_else(|| {
                Fault::Failed("OverflowError", "cannot convert float infinity to integer".into())
            })
        }
        (Val::Float(number), Some(digits)) => Ok(Val::Float(float(number, digits))),
        (other, _) => {
            Err(Fault::type_error(format!("type {} doesn't define __round__ method", other.type_name())))
        }
    }
}

/// Nothing if it is too large.
fn whole(number: i128, digits: i32) -> Option<i128> {
    let Some(unit) = u32::try_from(-i64::from(digits)).ok().and_then(|power| 10_i128.checked_pow(power))
    else {
        return Some(if digits >= 0 { number } else { 0 });
    };
    let (floor, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
    let up = match rest.cmp(&(unit - rest)) {
        Ordering::Less => false,
        Ordering::Equal => floor % 2 != 0,
        Ordering::Greater => true,
    };
    (floor + i128::from(up)).checked_mul(unit)
}

fn float(number: f64, digits: i32) -> f64 {
    match usize::try_from(digits) {
        // Formatting rounds from all digits of the float, as Python does.
        Ok(digits) if digits < 300 => format!("{number:.digits$}").parse().unwrap_or(number),
        Ok(_) => number,
        Err(_) => {
            let unit = 10_f64.powi(digits.saturating_neg());
            if number.is_finite() && unit.is_infinite() {
                return 0.0_f64.copysign(number);
            }
            (number / unit).round_ties_even() * unit
        }
    }
}

fn range(placed: Vec<Val<'_>>) -> Evaluated<'_> {
    let mut bounds = Vec::with_capacity(3);
    for bound in placed {
        let bound = bound.used()?;
        let wrong = || {
            Fault::type_error(format!("'{}' object cannot be interpreted as an integer", bound.type_name()))
        };
        bounds.push(bound.as_int().ok_or_else(wrong)?);
    }
    let (start, end, step) = match bounds[..] {
        [end] => (0, end, 1),
        [start, end] => (start, end, 1),
        [start, end, step] if step != 0 => (start, end, step),
        _ => return Err(Fault::type_error("range() takes one to three whole numbers, the last not 0")),
    };
    if end.saturating_sub(start).checked_div(step).is_none_or(|count| count > MAX_RANGE) {
        let message =
            format!("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MAX_RANGE}).");
        return Err(Fault::Failed("OverflowError", message));
    }
    let mut numbers = Vec::new();
    let mut number = start;
    while if step > 0 { number < end } else { number > end } {
        compute::step(1)?;
        numbers.push(Val::Int(number));
        let Some(next) = number.checked_add(step) else { break };
        number = next;
    }
    Ok(Val::List(numbers))
}
