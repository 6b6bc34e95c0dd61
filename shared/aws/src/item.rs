//! Reading and writing the attributes of an item. None is named as a key of an index is ([`crate::table::INDEXES`]), whose types
//! they would have to have.

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
    /// A text; an error if it is not there.
    pub(crate) fn text(&self, name: &str) -> Result<&str, StoreError> {
        self.0
            .get(name)
            .and_then(|value| value.as_s().ok())
            .map(String::as_str)
            .ok_or_else(|| self.damaged(name))
    }

    /// A text that means something else.
    pub(crate) fn parse<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.text(name)?.parse().map_err(|_| self.damaged(name))
    }

    /// [`Reader::parse`], of an attribute that need not be there.
    pub(crate) fn parse_any<T: FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.0.contains_key(name).then(|| self.parse(name)).transpose()
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        let number = self.0.get(name).and_then(|value| value.as_n().ok());
        number.and_then(|number| number.parse().ok()).ok_or_else(|| self.damaged(name))
    }

    /// A time in milliseconds.
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.number(name).map(Timestamp)
    }

    /// [`Reader::time`], of an attribute that need not be there.
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
            "the item {} / {} of the table is damaged: its `{name}` is missing or no {name}",
            key("PK"),
            key("SK")
        );
        StoreError::Failed(text.into())
    }
}
