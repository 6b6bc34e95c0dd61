//! Takes the fields of a request one by one, and reports all errors at once.

use crate::error::Error;
use runyard_runs::FieldErrors;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A JSON object, or a form converted to one, whose fields are being taken.
pub(crate) struct Fields {
    object: Map<String, Value>,
    errors: FieldErrors,
}

impl Fields {
    /// The fields of a JSON object.
    pub(crate) fn new(object: Map<String, Value>) -> Self {
        Self { object, errors: FieldErrors::new() }
    }

    /// The fields of a form, which may already have errors.
    pub(crate) fn with_errors(object: Map<String, Value>, errors: FieldErrors) -> Self {
        Self { object, errors }
    }

    /// Records an error in a field, unless it already has one.
    pub(crate) fn wrong(&mut self, field: &str, problem: impl Into<String>) {
        self.errors.entry(field.to_owned()).or_insert_with(|| problem.into());
    }

    /// Returns all errors.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::invalid(self.errors)) }
    }

    /// Takes a value of any type; null counts as omitted.
    pub(crate) fn any(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    /// Takes a required object.
    pub(crate) fn required_object(&mut self, field: &str) -> Map<String, Value> {
        match self.any(field) {
            Some(Value::Object(object)) => return object,
            Some(_) => self.wrong(field, "must be an object"),
            None => self.wrong(field, CANNOT_BE_BLANK),
        }
        Map::new()
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, field: &str) -> Option<Map<String, Value>> {
        self.typed(field, "must be an object", |value| match value {
            Value::Object(object) => Some(object),
            _ => None,
        })
    }

    /// Takes a string of at most `max` characters.
    pub(crate) fn text(&mut self, field: &str, max: usize) -> Option<String> {
        let text = self.typed(field, "must be a string", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })?;
        if text.chars().count() > max {
            self.wrong(field, format!("must have at most {max} characters"));
            return None;
        }
        Some(text)
    }

    /// Takes a boolean.
    pub(crate) fn flag(&mut self, field: &str) -> Option<bool> {
        self.typed(field, "must be true or false", |value| value.as_bool())
    }

    /// Takes a UUID.
    pub(crate) fn uuid(&mut self, field: &str) -> Option<Uuid> {
        self.typed(field, "must be a UUID", |value| value.as_str()?.parse().ok())
    }

    /// Takes an array of at most `max` UUIDs.
    pub(crate) fn uuids(&mut self, field: &str, max: usize) -> Vec<Uuid> {
        let list = self.typed(field, "must be an array of UUIDs", |value| match value {
            Value::Array(list) => Some(list),
            _ => None,
        });
        let list = list.unwrap_or_default();
        if list.len() > max {
            self.wrong(field, format!("must have at most {max} items"));
            return Vec::new();
        }
        let mut uuids = Vec::with_capacity(list.len());
        for (index, item) in list.iter().enumerate() {
            match item.as_str().and_then(|text| text.parse().ok()) {
                Some(uuid) => uuids.push(uuid),
                None => self.wrong(&format!("{field}.{index}"), "must be a UUID"),
            }
        }
        uuids
    }

    /// Takes metadata: at most [`LABELS`] strings by key.
    pub(crate) fn labels(&mut self, field: &str) -> BTreeMap<String, String> {
        let object = self.object(field).unwrap_or_default();
        if object.len() > LABELS {
            self.wrong(field, format!("must have at most {LABELS} keys"));
            return BTreeMap::new();
        }
        let mut labels = BTreeMap::new();
        for (key, value) in object {
            let name = format!("{field}.{}", key.chars().take(LABEL_KEY).collect::<String>());
            if let Some(problem) = label_key_problem(&key) {
                self.wrong(&name, problem);
            }
            match value {
                Value::String(value) if value.chars().count() <= LABEL_VALUE => {
                    labels.insert(key, value);
                }
                Value::String(_) => self.wrong(&name, format!("must have at most {LABEL_VALUE} characters")),
                _ => self.wrong(&name, "must be a string"),
            }
        }
        labels
    }

    fn typed<T>(&mut self, field: &str, problem: &str, read: impl FnOnce(Value) -> Option<T>) -> Option<T> {
        let read = read(self.any(field)?);
        if read.is_none() {
            self.wrong(field, problem);
        }
        read
    }
}

/// The error of a required field that is missing.
pub(crate) const CANNOT_BE_BLANK: &str = "cannot be blank";

/// Entries in the metadata of one run.
pub(crate) const LABELS: usize = 16;
/// Characters of a metadata key.
const LABEL_KEY: usize = 64;
/// Characters of a metadata value.
pub(crate) const LABEL_VALUE: usize = 512;
/// Characters of a user identifier.
pub(crate) const USER_ID: usize = 256;

/// Returns the error in a metadata key, if it is invalid.
pub(crate) fn label_key_problem(key: &str) -> Option<String> {
    (!(1..=LABEL_KEY).contains(&key.chars().count()))
        .then(|| format!("a key must have 1 to {LABEL_KEY} characters"))
}
