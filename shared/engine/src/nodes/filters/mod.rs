//! Filters: nodes that keep of a list what a condition holds for.

mod file;
mod list;

use super::{
    Registered,
    admit::{Admission, LIST},
};
use crate::{
    condition::Condition,
    flow::NodeError,
    load::{Fields, condition},
};
use serde_json::Value;

pub(super) const NODES: &[&Registered] = &[&file::FILE_FILTER, &list::LIST_FILTER];

/// What is kept of a list.
#[derive(Debug)]
struct Filter(Condition);

impl Filter {
    fn read(id: &str, fields: Fields<'_>) -> Option<Self> {
        if fields.get("filters").is_none() {
            fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `filters`"));
        }
        condition(fields.fields("filters")?).map(Self)
    }

    fn apply(&self, items: &Value) -> Result<Vec<Value>, NodeError> {
        let mut kept = Vec::new();
        for item in items.as_array().map(Vec::as_slice).unwrap_or_default() {
            let holds = self.0.holds(item).map_err(|error| {
                NodeError::new("ValueError", format!("the list cannot be filtered: {}", error.message))
            })?;
            if holds {
                kept.push(item.clone());
            }
        }
        Ok(kept)
    }
}
