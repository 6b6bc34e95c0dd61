//! The condition cells of a decision table.

use super::Column;
use crate::condition::equal;
use serde_json::{Number, Value};
use std::cmp::Ordering;

/// A compiled condition cell.
#[derive(Debug)]
pub(super) enum Cell {
    /// An empty cell, or `*`: satisfied by every value.
    Any,
    /// `[620..680)`.
    Range { low: (Number, bool), high: (Number, bool) },
    /// `FHA, VA`, `== 5`.
    OneOf(Vec<Value>),
    /// `!= FHA, VA`.
    NoneOf(Vec<Value>),
    /// `>= 620`: the orderings that satisfy it, and the value to compare with.
    Order(&'static [Ordering], Value),
}

const SIGNS: &[&str] = &["==", "!=", ">=", "<=", ">", "<", "="];

impl Cell {
    /// Parses the text of a cell in a column of that type; the error says what is wrong.
    pub(super) fn read(text: &str, column: Column) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text == "*" {
            return Ok(Self::Any);
        }
        if let Some((low, high)) = range(text) {
            if !column.is_numeric() && column != Column::Any {
                return Err("a range needs a column of type `int`, `float` or `Any`".into());
            }
            if compare(&low.0, &high.0) == Some(Ordering::Greater) {
                return Err(format!("the bounds of the range {text} are in the wrong order"));
            }
            return Ok(Self::Range { low, high });
        }
        let Some(sign) = SIGNS.iter().find(|sign| text.starts_with(**sign)) else {
            return literals(text, column).map(Self::OneOf);
        };
        let rest = text[sign.len()..].trim_start();
        if rest.is_empty() {
            return Err(format!("`{sign}` needs a value to compare with"));
        }
        let mut literals = literals(rest, column)?;
        let orders: &[Ordering] = match *sign {
            "=" | "==" => return Ok(Self::OneOf(literals)),
            "!=" => return Ok(Self::NoneOf(literals)),
            ">" => &[Ordering::Greater],
            ">=" => &[Ordering::Greater, Ordering::Equal],
            "<" => &[Ordering::Less],
            _ => &[Ordering::Less, Ordering::Equal],
        };
        if literals.len() > 1 {
            return Err(format!("`{sign}` takes one value, not a list"));
        }
        Ok(Self::Order(orders, literals.swap_remove(0)))
    }

    /// Whether `value` satisfies the cell. Null, also used for values of a wrong type, only satisfies an empty cell.
    pub(super) fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Range { low, high } => {
                let Value::Number(value) = value else { return false };
                let within = |bound: &(Number, bool), side: Ordering| match compare(value, &bound.0) {
                    Some(Ordering::Equal) => bound.1,
                    order => order == Some(side),
                };
                within(low, Ordering::Greater) && within(high, Ordering::Less)
            }
            Self::OneOf(literals) => !value.is_null() && literals.iter().any(|literal| same(value, literal)),
            Self::NoneOf(literals) => {
                !value.is_null() && !literals.iter().any(|literal| same(value, literal))
            }
            Self::Order(orders, literal) => {
                let order = match (value, literal) {
                    (Value::Number(value), Value::Number(literal)) => compare(value, literal),
                    (Value::String(value), Value::String(literal)) => Some(value.cmp(literal)),
                    _ => None,
                };
                order.is_some_and(|order| orders.contains(&order))
            }
        }
    }
}

/// Like [`equal`], but true is not equal to 1.
fn same(left: &Value, right: &Value) -> bool {
    left.is_boolean() == right.is_boolean() && equal(left, right)
}

pub(super) fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn literals(text: &str, column: Column) -> Result<Vec<Value>, String> {
    let parts = alternatives(text);
    if parts.len() > 1 && parts.iter().any(|part| part.trim().is_empty()) {
        return Err("a list cannot contain an empty alternative".into());
    }
    parts.into_iter().map(|part| column.literal(part)).collect()
}

/// Splits the text at commas outside quotes. A quote must be at the start of a part.
fn alternatives(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quote, mut fresh) = (0, None, true);
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) => {
                if character == open {
                    quote = None;
                }
            }
            (None, '"' | '\'') if fresh => (quote, fresh) = (Some(character), false),
            (None, ',') => {
                parts.push(&text[start..index]);
                (start, fresh) = (index + 1, true);
            }
            (None, _) => fresh &= character.is_whitespace(),
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Parses `[1..5)` into its bounds, each with whether it is inclusive.
fn range(text: &str) -> Option<((Number, bool), (Number, bool))> {
    let includes_low = text.starts_with('[');
    let includes_high = text.ends_with(']');
    let inner = text.strip_prefix(['[', '('])?.strip_suffix([']', ')'])?;
    let (low, high) = inner.split_once("..")?;
    Some(((number(low.trim())?, includes_low), (number(high.trim())?, includes_high)))
}

/// Parses a number in decimal or exponent form.
pub(super) fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if ![Some(whole), fraction, exponent].into_iter().flatten().all(digits) {
        return None;
    }
    if fraction.is_none() && exponent.is_none() {
        return text.parse::<i128>().ok().and_then(Number::from_i128);
    }
    Number::from_f64(text.parse().ok()?)
}
