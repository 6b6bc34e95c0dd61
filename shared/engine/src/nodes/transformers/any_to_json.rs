//! `AnyToJSON`: writes any value as JSON.

use super::{ANY, InputCheck, LARGE, Registered};
use crate::{
    compute,
    flow::{Call, Halt, Kind, NodeError},
    measure::too_long,
    python_json,
};
use async_trait::async_trait;
use runyard_runs::{MAX_OUTPUT_BYTES, Size};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const ANY_TO_JSON: Registered = Registered {
    class: "transformers.AnyToJSON",
    name: Some("any-to-json"),
    timeout: None,
    build: |_, _, _| Some(Box::new(AnyToJson)),
};

#[derive(Debug)]
struct AnyToJson;

#[async_trait]
impl Kind for AnyToJson {
    async fn execute(&self, _: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let value = &input["value"];
        // A non-ASCII character of 2 bytes takes 6 bytes as an escape.
        let text = compute::block_if(Size::of(value).bytes > LARGE, || python_json::ascii(value));
        if text.len() > MAX_OUTPUT_BYTES {
            return Err(too_long().into());
        }
        Ok(Arc::new(json!({"content": text})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "an AnyToJSON")?;
        input.required("value", ANY)?;
        Ok(input.done())
    }
}
