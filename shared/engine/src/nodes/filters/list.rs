//! `ListFilter`: keeps the items of a list that match a condition.

use super::{Filter, InputCheck, LIST, Registered};
use crate::flow::{Call, Halt, Kind, NodeError};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const LIST_FILTER: Registered = Registered {
    class: "filters.ListFilter",
    name: Some("list-filter"),
    timeout: None,
    build: |id, fields, _| Some(Box::new(ListFilter(Filter::read(id, fields)?))),
};

#[derive(Debug)]
struct ListFilter(Filter);

#[async_trait]
impl Kind for ListFilter {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        Ok(Arc::new(json!({"output": self.0.apply(call, &input["input"]).await?})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a ListFilter")?;
        input.required("input", LIST)?;
        Ok(input.done())
    }
}
