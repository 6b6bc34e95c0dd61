//! `JSONToAny`: parses JSON text.

use super::{InputCheck, LARGE, Registered, TEXT};
use crate::{
    compute,
    flow::{Call, Halt, Kind, NodeError},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const JSON_TO_ANY: Registered = Registered {
    class: "transformers.JSONToAny",
    name: Some("json-to-any"),
    timeout: None,
    build: |_, _, _| Some(Box::new(JsonToAny)),
};

#[derive(Debug)]
struct JsonToAny;

#[async_trait]
impl Kind for JsonToAny {
    async fn execute(&self, _: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let text = input["value"].as_str().unwrap_or_default();
        NodeError::check_json(text)?;
        match compute::block_if(text.len() > LARGE, || serde_json::from_str::<Value>(text)) {
            Ok(value) => Ok(Arc::new(json!({"content": value}))),
            Err(problem) => Err(NodeError::new("ValueError", format!("invalid JSON: {problem}")).into()),
        }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a JSONToAny")?;
        input.required("value", TEXT)?;
        Ok(input.done())
    }
}
