//! Conditions of dependencies and of the options of a Choice.

use crate::{
    compute,
    flow::NodeError,
    pattern::Pattern,
    python_text,
    transform::{CompiledPath, Data},
};
use serde_json::{Number, Value};
use std::cmp::Ordering;

/// A compiled condition.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) variable: Option<CompiledPath>,
    pub(crate) test: Test,
    pub(crate) is_not: bool,
}

/// How a condition tests its variable.
#[derive(Debug)]
pub(crate) enum Test {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    /// Compares with a value from the file.
    Literal(Comparison, Value),
    /// Compares with the value that another path selects.
    Path(Comparison, Option<CompiledPath>, String),
    /// Matches a pattern, or holds the reason why the pattern is invalid.
    Pattern(Result<Box<Pattern>, String>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    StartsWith,
    EndsWith,
    Contains,
}

/// The operators by their names in files, without `and`, `or` and `string-regexp`.
pub(crate) const OPERATORS: &[(&str, Comparison)] = &[
    ("boolean-equals", Comparison::Equal),
    ("numeric-equals", Comparison::Equal),
    ("numeric-greater-than", Comparison::Greater),
    ("numeric-greater-than-or-equals", Comparison::GreaterOrEqual),
    ("numeric-less-than", Comparison::Less),
    ("numeric-less-than-or-equals", Comparison::LessOrEqual),
    ("string-equals", Comparison::Equal),
    ("string-greater-than", Comparison::Greater),
    ("string-greater-than-or-equals", Comparison::GreaterOrEqual),
    ("string-less-than", Comparison::Less),
    ("string-less-than-or-equals", Comparison::LessOrEqual),
    ("string-starts-with", Comparison::StartsWith),
    ("string-ends-with", Comparison::EndsWith),
    ("string-contains", Comparison::Contains),
];

impl Condition {
    /// Returns whether the condition holds for `data`. An error, which fails the node, if it cannot be evaluated.
    pub(crate) fn holds(&self, data: &Value) -> Result<bool, NodeError> {
        compute::step(1).map_err(|_| NodeError::limit_exceeded("a condition takes too many steps"))?;
        let filtered;
        let value = match &self.variable {
            Some(pointer) => {
                filtered = pointer.filter(Data::Json(data))?;
                &*filtered
            }
            None => data,
        };
        let held = match &self.test {
            Test::Any(operands) => any(operands, value)?,
            Test::All(operands) => !any_not(operands, value)?,
            Test::Literal(comparison, expected) => {
                charge(expected)?;
                compare(*comparison, value, expected)?
            }
            Test::Path(comparison, pointer, text) => {
                compare(*comparison, value, &selected(pointer.as_ref(), text, data)?)?
            }
            Test::Pattern(Ok(pattern)) => {
                charge(value)?;
                pattern.is_match(&python_text::str(value))?
            }
            Test::Pattern(Err(problem)) => return Err(NodeError::new("ValueError", problem.clone())),
        };
        Ok(held != self.is_not)
    }
}

/// Charges the budget for a value that is written as text or compared.
fn charge(value: &Value) -> Result<(), NodeError> {
    compute::walk(value)
        .map_err(|_| NodeError::limit_exceeded("the value that a condition checks is too large"))
}

fn any(operands: &[Condition], value: &Value) -> Result<bool, NodeError> {
    for operand in operands {
        if operand.holds(value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn any_not(operands: &[Condition], value: &Value) -> Result<bool, NodeError> {
    for operand in operands {
        if !operand.holds(value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The single value that a path operator compares with.
fn selected(pointer: Option<&CompiledPath>, text: &str, data: &Value) -> Result<Value, NodeError> {
    let Some(pointer) = pointer else {
        let message = format!("a path operator requires a JSONPath as its value, not {text}");
        return Err(NodeError::new("ValueError", message));
    };
    let mut found = pointer.filter_all(Data::Json(data))?;
    match found.len() {
        1 => Ok(found.swap_remove(0).into_owned()),
        count => Err(NodeError::new(
            "ValueError",
            format!("the value path {text} selected {count} values, expected exactly one"),
        )),
    }
}

/// Compares as Python does. An error if Python does not order the two types.
pub(crate) fn compare(comparison: Comparison, value: &Value, expected: &Value) -> Result<bool, NodeError> {
    let (text, part) = match comparison {
        Comparison::StartsWith | Comparison::EndsWith | Comparison::Contains => {
            (python_text::str(value), python_text::str(expected))
        }
        Comparison::Equal => return Ok(equal(value, expected)),
        _ => {
            let Some(order) = order(value, expected) else {
                return Err(unordered(comparison, value, expected));
            };
            return Ok(match comparison {
                Comparison::Greater => order == Some(Ordering::Greater),
                Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
                Comparison::Less => order == Some(Ordering::Less),
                _ => order.is_some_and(Ordering::is_le),
            });
        }
    };
    Ok(match comparison {
        Comparison::StartsWith => text.starts_with(&part),
        Comparison::EndsWith => text.ends_with(&part),
        _ => text.contains(&part),
    })
}

fn unordered(comparison: Comparison, value: &Value, expected: &Value) -> NodeError {
    let sign = match comparison {
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
        Comparison::Less => "<",
        _ => "<=",
    };
    let (left, right) = (python_text::type_name(value), python_text::type_name(expected));
    NodeError::new("TypeError", format!("'{sign}' not supported between instances of '{left}' and '{right}'"))
}

/// Python's `==`: 1, 1.0 and true are equal.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right)))
        }
        _ => match (numeric(left), numeric(right)) {
            (Some(left), Some(right)) => number_order(&left, &right) == Some(Ordering::Equal),
            _ => left == right,
        },
    }
}

/// Python's order; the outer `None` if Python does not order these types.
#[expect(
    clippy::option_option,
    reason = "types without an order, and numbers without one, are different things"
)]
fn order(left: &Value, right: &Value) -> Option<Option<Ordering>> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(Some(left.cmp(right))),
        (Value::Array(left_items), Value::Array(right_items)) => {
            for (left, right) in left_items.iter().zip(right_items) {
                if !equal(left, right) {
                    return order(left, right);
                }
            }
            Some(Some(left_items.len().cmp(&right_items.len())))
        }
        _ => Some(number_order(&numeric(left)?, &numeric(right)?)),
    }
}

/// A number; true is 1 and false is 0.
fn numeric(value: &Value) -> Option<Number> {
    match value {
        Value::Bool(flag) => Some(Number::from(u8::from(*flag))),
        Value::Number(number) => Some(number.clone()),
        _ => None,
    }
}

fn number_order(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}
