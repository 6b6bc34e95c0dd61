//! Reading and writing the attributes of items other than runs. Their names must differ from the keys of the indexes
//! ([`crate::table::INDEXES`]), which fix an attribute's type in the whole table.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use runyard_runs::{StoreError, Timestamp};
use std::{collections::HashMap, fmt::Display, str::FromStr};

/// An item of the table.
pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn bytes(value: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// The attributes of one item, read by name.
pub(crate) struct Reader<'i>(pub(crate) &'i Item);

impl Reader<'_> {
    /// Returns a text; an error if the attribute is missing.
    pub(crate) fn text(&self, name: &str) -> Result<&str, StoreError> {
        self.0
            .get(name)
            .and_then(|value| value.as_s().ok())
            .map(String::as_str)
            .ok_or_else(|| self.damaged(name))
    }

    /// Parses a text.
    pub(crate) fn parse<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.text(name)?.parse().map_err(|_| self.damaged(name))
    }

    /// Like [`Reader::parse`], for an optional attribute.
    pub(crate) fn parse_any<T: FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.0.contains_key(name).then(|| self.parse(name)).transpose()
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        let number = self.0.get(name).and_then(|value| value.as_n().ok());
        number.and_then(|number| number.parse().ok()).ok_or_else(|| self.damaged(name))
    }

    /// Returns a timestamp that is stored in milliseconds.
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.number(name).map(Timestamp)
    }

    /// Like [`Reader::time`], for an optional attribute.
    pub(crate) fn time_any(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        self.0.contains_key(name).then(|| self.time(name)).transpose()
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> Result<[u8; N], StoreError> {
        let bytes = self.0.get(name).and_then(|value| value.as_b().ok());
        bytes.and_then(|bytes| bytes.as_ref().try_into().ok()).ok_or_else(|| self.damaged(name))
    }

    pub(crate) fn damaged(&self, name: &str) -> StoreError {
        let key = |name| self.0.get(name).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
        let text = format!(
            "the item {} / {} of the table is damaged: its `{name}` is missing or invalid",
            key("PK"),
            key("SK")
        );
        StoreError::Failed(text.into())
    }
}
