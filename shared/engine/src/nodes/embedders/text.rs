//! `…TextEmbedder`: computes the vector of a text.

use super::{Embedder, Provider};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::{Fields, Loading},
    nodes::admit::{Check, InputCheck},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug)]
struct TextEmbedder(Embedder);

pub(super) fn build(
    provider: &'static Provider,
    fields: Fields<'_>,
    loading: &Loading<'_>,
) -> Option<Box<dyn Kind>> {
    Some(Box::new(TextEmbedder(Embedder::read(provider, "search_query", fields, loading)?)))
}

const QUERY: Check = Check::new("text that is not blank", |value| {
    value.as_str().is_some_and(|text| !text.trim().is_empty()).then(|| value.clone())
});

#[async_trait]
impl Kind for TextEmbedder {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let embedding = self.0.text(call, input["query"].as_str().unwrap_or_default()).await?;
        Ok(Arc::new(json!({"embedding": embedding, "query": input["query"]})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "a text embedder")?;
        admission.required("query", QUERY)?;
        Ok(admission.done())
    }
}
