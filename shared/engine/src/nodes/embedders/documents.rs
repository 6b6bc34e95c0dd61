//! `…DocumentEmbedder`: adds vectors to documents.

use super::{Embedder, Provider};
use crate::{
    document::Document,
    flow::{Call, Halt, Kind, NodeError},
    load::{Fields, Loading},
    nodes::admit::{InputCheck, invalid},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug)]
struct DocumentEmbedder(Embedder);

pub(super) fn build(
    provider: &'static Provider,
    fields: Fields<'_>,
    loading: &Loading<'_>,
) -> Option<Box<dyn Kind>> {
    Some(Box::new(DocumentEmbedder(Embedder::read(provider, "search_document", fields, loading)?)))
}

#[async_trait]
impl Kind for DocumentEmbedder {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let mut documents = Document::read_list(input.get("documents"))?;
        let meta = self.0.documents(call, &mut documents).await?;
        Ok(Arc::new(json!({"documents": Document::list(documents), "meta": meta})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "a document embedder")?;
        let documents = Document::read_list(input.get("documents"))?;
        if let Some(index) = documents.iter().position(|document| document.content.trim().is_empty()) {
            return Err(invalid(format!("`documents[{index}].content`: cannot be blank")));
        }
        admission.set("documents", Document::list(documents));
        Ok(admission.done())
    }
}
