//! `ByIndexExtractor`: returns the item at an index of a list.

use super::{InputCheck, LIST, Registered, WHOLE};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    python_text,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const BY_INDEX_EXTRACTOR: Registered = Registered {
    class: "extractors.ByIndexExtractor",
    name: Some("by-index-extractor"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(ByIndexExtractor { index: index(fields) })),
};

#[derive(Debug)]
struct ByIndexExtractor {
    /// The default `index` of an input without one.
    index: i64,
}

fn index(fields: Fields<'_>) -> i64 {
    let Some(value) = fields.json("index") else { return 0 };
    let index = python_text::whole(&value);
    if index.is_none() {
        fields.mistake(fields.spot("index"), "`index` must be a whole number".into());
    }
    index.unwrap_or(0)
}

#[async_trait]
impl Kind for ByIndexExtractor {
    async fn execute(&self, _: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let items = input["input"].as_array().map(Vec::as_slice).unwrap_or_default();
        let index = input["index"].as_i64().unwrap_or(self.index);
        let item = usize::try_from(index).ok().and_then(|index| items.get(index));
        let Some(item) = item else {
            let problem = format!("the list has {} items, so there is no item at index {index}", items.len());
            return Err(NodeError::new("ValueError", problem).into());
        };
        Ok(Arc::new(json!({"output": item})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a ByIndexExtractor")?;
        input.required("input", LIST)?;
        input.optional("index", WHOLE)?;
        Ok(input.done())
    }
}
