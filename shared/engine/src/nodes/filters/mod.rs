//! Filters: nodes that keep the items of a list that match a condition.

mod file;
mod list;

use super::{
    Registered,
    admit::{InputCheck, LIST},
};
use crate::{
    compute,
    condition::Condition,
    flow::{Call, NodeError},
    load::{Fields, condition},
};
use serde_json::Value;
use std::sync::Arc;

pub(super) const NODES: &[&Registered] = &[&file::FILE_FILTER, &list::LIST_FILTER];

/// The condition for the items to keep.
#[derive(Debug)]
struct Filter(Arc<Condition>);

impl Filter {
    fn read(id: &str, fields: Fields<'_>) -> Option<Self> {
        if fields.get("filters").is_none() {
            fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `filters`"));
        }
        condition(fields.fields("filters")?).map(|condition| Self(Arc::new(condition)))
    }

    async fn apply(&self, call: Call<'_>, items: &Value) -> Result<Vec<Value>, NodeError> {
        let away = || {
            let (condition, items) = (Arc::clone(&self.0), items.clone());
            move || filter(&condition, &items)
        };
        compute::run(call.run, "a filter", || filter(&self.0, items), away).await
    }
}

fn filter(condition: &Condition, items: &Value) -> Result<Vec<Value>, NodeError> {
    let mut kept = Vec::new();
    for item in items.as_array().map(Vec::as_slice).unwrap_or_default() {
        let holds = condition.holds(item).map_err(|error| match error.code() {
            "limit_exceeded" => error,
            _ => NodeError::new("ValueError", format!("the list cannot be filtered: {}", error.message)),
        })?;
        if holds {
            kept.push(item.clone());
        }
    }
    Ok(kept)
}
