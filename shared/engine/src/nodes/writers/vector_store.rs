//! `VectorStoreWriter`: embeds documents and writes them to a store: an embedder and a writer in one node.

use super::Registered;
use crate::{
    document::Document,
    flow::{Call, Halt, Kind, Node, NodeError, ToolSpec, run_within},
    load::{Fields, Loading},
    nodes::{
        admit::{InputCheck, invalid},
        part::{part, tool_failure},
    },
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

pub(super) const VECTOR_STORE_WRITER: Registered = Registered {
    class: "writers.VectorStoreWriter",
    name: Some("vector-store-writer"),
    timeout: Some(Duration::from_mins(10)),
    build: |id, fields, loading| Some(Box::new(VectorStoreWriter::read(id, fields, loading)?)),
};

#[derive(Debug)]
struct VectorStoreWriter {
    embedder: Box<Node>,
    writer: Box<Node>,
}

impl VectorStoreWriter {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let embedder = part(id, "document_embedder", "DocumentEmbedder", fields, loading);
        let writer = part(id, "document_writer", "DocumentWriter", fields, loading);
        Some(Self { embedder: embedder?, writer: writer? })
    }

    async fn write(&self, call: Call<'_>, input: &Value) -> Result<Value, Halt> {
        let given = json!({"documents": input["documents"]});
        let embedded = run_within(call, &self.embedder, "embed", &given).await?;
        let given = json!({"documents": embedded["documents"]});
        Ok(run_within(call, &self.writer, "write", &given).await?["upserted_count"].clone())
    }
}

#[async_trait]
impl Kind for VectorStoreWriter {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let count = self.write(call, input).await.map_err(|halt| tool_failure(call, halt))?;
        Ok(Arc::new(json!({"upserted_count": count})))
    }

    fn offer(&self) -> ToolSpec {
        ToolSpec {
            description: "Writes documents to a knowledge base, each with what is known of it: `title`, `author`, \
                          `url`, `published_date`, `source`, `category`, `tags` and the like. What the user says of a \
                          document belongs into its metadata.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "documents": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "content": {"type": "string", "description": "the text"},
                                "metadata": {"type": "object", "description": "what is known of it, by name"},
                            },
                            "required": ["content"],
                        },
                    },
                },
                "required": ["documents"],
            }),
            parallel: false,
        }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "a VectorStoreWriter")?;
        let mut documents = Document::read_list(input.get("documents"))?;
        for (index, document) in documents.iter_mut().enumerate() {
            if document.content.is_empty() {
                return Err(invalid(format!("`documents[{index}].content`: cannot be blank")));
            }
            document.metadata.get_or_insert_with(Map::new);
        }
        admission.set("documents", Document::list(documents));
        Ok(admission.done())
    }
}
