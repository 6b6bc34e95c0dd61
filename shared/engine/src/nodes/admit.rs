//! Checks an input field by field, and fills in defaults, as a kind's schema does in the reference.

use crate::{flow::NodeError, python_text};
use serde_json::{Map, Value};
use std::sync::Arc;

/// An input that is being checked. The result has the fields of the kind's schema, and no others.
pub(super) struct InputCheck<'i> {
    kind: &'static str,
    given: &'i Map<String, Value>,
    admitted: Map<String, Value>,
}

/// The type that a field must have.
#[derive(Clone, Copy)]
pub(super) struct Check {
    what: &'static str,
    /// Returns the value as the node receives it; `None` if it does not match.
    pub(super) read: fn(&Value) -> Option<Value>,
}

pub(super) const ANY: Check = Check { what: "anything", read: |value| Some(value.clone()) };
pub(super) const TEXT: Check = Check { what: "text", read: |value| value.is_string().then(|| value.clone()) };
pub(super) const LIST: Check =
    Check { what: "a list", read: |value| value.is_array().then(|| value.clone()) };
pub(super) const MAPPING: Check =
    Check { what: "a mapping", read: |value| value.is_object().then(|| value.clone()) };
pub(super) const NUMBER: Check =
    Check { what: "a number", read: |value| value.is_number().then(|| value.clone()) };
pub(super) const MAPPING_OR_LIST: Check = Check {
    what: "a mapping or a list",
    read: |value| (value.is_object() || value.is_array()).then(|| value.clone()),
};
pub(super) const TEXTS: Check = Check {
    what: "a list of texts",
    read: |value| value.as_array()?.iter().all(Value::is_string).then(|| value.clone()),
};
pub(super) const FLAG: Check = Check { what: "true or false", read: |value| flag(value).map(Value::Bool) };
pub(super) const WHOLE: Check =
    Check { what: "a whole number", read: |value| python_text::whole(value).map(Value::from) };

impl Check {
    pub(super) const fn new(what: &'static str, read: fn(&Value) -> Option<Value>) -> Self {
        Self { what, read }
    }
}

impl<'i> InputCheck<'i> {
    /// `kind` names the kind of node, with its article.
    pub(super) fn of(input: &'i Value, kind: &'static str) -> Result<Self, NodeError> {
        let Value::Object(given) = input else {
            let type_name = python_text::type_name(input);
            return Err(invalid(format!("the input of {kind} must be a mapping, but it is {type_name}")));
        };
        Ok(Self { kind, given, admitted: Map::new() })
    }

    /// Checks a required field.
    pub(super) fn required(&mut self, key: &str, check: Check) -> Result<(), NodeError> {
        match self.given.get(key) {
            Some(value) => self.take(key, value, check),
            None => Err(invalid(format!("the input of {} lacks `{key}`", self.kind))),
        }
    }

    /// Checks a field that has a default. If present, it may not be null.
    pub(super) fn or(&mut self, key: &str, default: impl Into<Value>, check: Check) -> Result<(), NodeError> {
        if let Some(value) = self.given.get(key) {
            return self.take(key, value, check);
        }
        self.set(key, default.into());
        Ok(())
    }

    /// Checks a field that may be absent or null; if absent, it becomes null.
    pub(super) fn optional(&mut self, key: &str, check: Check) -> Result<(), NodeError> {
        match self.given.get(key) {
            Some(Value::Null) | None => {
                self.set(key, Value::Null);
                Ok(())
            }
            Some(value) => self.take(key, value, check),
        }
    }

    /// A field of the input, unchecked.
    pub(super) fn given(&self, key: &str) -> Option<&'i Value> {
        self.given.get(key)
    }

    /// A field that was checked.
    pub(super) fn get(&self, key: &str) -> &Value {
        self.admitted.get(key).unwrap_or(&Value::Null)
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.admitted.insert(key.to_owned(), value);
    }

    pub(super) fn done(self) -> Arc<Value> {
        Arc::new(Value::Object(self.admitted))
    }

    fn take(&mut self, key: &str, value: &Value, check: Check) -> Result<(), NodeError> {
        let Some(value) = (check.read)(value) else {
            let (what, given) = (check.what, python_text::type_name(value));
            return Err(invalid(format!("`{key}` of the input must be {what}, but it is {given}")));
        };
        self.set(key, value);
        Ok(())
    }
}

/// The error of an input that does not match its schema.
pub(super) fn invalid(problem: String) -> NodeError {
    NodeError::new("ValidationError", problem)
}

/// Reads what the reference accepts for true and false.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_f64()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
            "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
