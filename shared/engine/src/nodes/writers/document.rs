//! `…DocumentWriter`: writes documents with their vectors to a store.

use crate::{
    document::Document,
    flow::{Call, Halt, Kind, NodeError},
    nodes::admit::{InputCheck, TEXT},
    vectors::{Columns, VectorStore},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug)]
struct DocumentWriter {
    store: Box<dyn VectorStore>,
}

pub(super) fn build(store: Option<Box<dyn VectorStore>>) -> Option<Box<dyn Kind>> {
    Some(Box::new(DocumentWriter { store: store? }))
}

#[async_trait]
impl Kind for DocumentWriter {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let documents = Document::read_list(input.get("documents"))?;
        let name = |key: &str| input[key].as_str().filter(|name| !name.is_empty());
        let columns = Columns { content: name("content_key"), vector: name("embedding_key") };
        call.announce().await?;
        let count = if documents.is_empty() {
            0
        } else {
            self.store.write(call, documents, columns).await.map_err(NodeError::from)?
        };
        Ok(Arc::new(json!({"upserted_count": count})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "a document writer")?;
        let documents = Document::read_list(input.get("documents"))?;
        admission.set("documents", Document::list(documents));
        admission.optional("content_key", TEXT)?;
        admission.optional("embedding_key", TEXT)?;
        Ok(admission.done())
    }
}
