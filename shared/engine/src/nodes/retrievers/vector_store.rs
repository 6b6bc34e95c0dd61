//! `VectorStoreRetriever`: finds documents for a question: an embedder, a retriever and an optional ranker in one node.

use super::{
    Registered,
    document::{DISTANCE, SHARE},
    format::{Format, MAIN_FIELDS},
};
use crate::{
    document::Document,
    flow::{Call, Halt, Kind, Node, NodeError, ToolSpec, run_within},
    load::{Fields, Loading},
    nodes::{
        admit::{InputCheck, MAPPING, NUMBER, TEXT, WHOLE},
        part::{part, tool_failure},
    },
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

pub(super) const VECTOR_STORE_RETRIEVER: Registered = Registered {
    class: "retrievers.VectorStoreRetriever",
    name: Some("vector-store-retriever"),
    timeout: Some(Duration::from_mins(10)),
    build: |id, fields, loading| Some(Box::new(VectorStoreRetriever::read(id, fields, loading)?)),
};

#[derive(Debug)]
struct VectorStoreRetriever {
    embedder: Box<Node>,
    retriever: Box<Node>,
    ranker: Option<Box<Node>>,
    filters: Value,
    top_k: Option<u32>,
    alpha: f64,
    threshold: Option<f64>,
    max_distance: Option<f64>,
    format: Format,
}

impl VectorStoreRetriever {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let embedder = part(id, "text_embedder", "TextEmbedder", fields, loading);
        let retriever = part(id, "document_retriever", "DocumentRetriever", fields, loading);
        let ranker = match fields.get("document_reranker") {
            Some(_) => Some(part(id, "document_reranker", "ranker", fields, loading)?),
            None => None,
        };
        let for_agents = fields.bool("is_optimized_for_agents").unwrap_or(false);
        let agent_fields = match fields.json("agent_metadata_fields") {
            Some(Value::Array(names)) => {
                names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
            }
            _ => MAIN_FIELDS.iter().map(|name| (*name).to_owned()).collect(),
        };
        Some(Self {
            filters: fields.json("filters").unwrap_or_else(|| json!({})),
            top_k: fields.count("top_k"),
            alpha: fields.float("alpha").unwrap_or(0.5),
            threshold: fields.float("similarity_threshold"),
            max_distance: fields.float("max_vector_distance"),
            format: Format {
                fields: for_agents.then_some(agent_fields),
                skip_empty: fields.bool("skip_empty_metadata").unwrap_or(true),
            },
            embedder: embedder?,
            retriever: retriever?,
            ranker,
        })
    }

    async fn documents(&self, call: Call<'_>, input: &Value) -> Result<Value, Halt> {
        let query = &input["query"];
        let embedded = run_within(call, &self.embedder, "embed", &json!({"query": query})).await?;
        let mut search = json!({
            "embedding": embedded["embedding"],
            "query": query,
            "alpha": input["alpha"].as_f64().unwrap_or(self.alpha),
            "filters": match input["filters"].as_object() {
                Some(filters) if !filters.is_empty() => &input["filters"],
                _ => &self.filters,
            },
        });
        let optional: [(&str, Option<Value>); 3] = [
            (
                "top_k",
                input["top_k"]
                    .as_i64()
                    .filter(|top| *top != 0)
                    .or(self.top_k.map(i64::from))
                    .map(Value::from),
            ),
            (
                "similarity_threshold",
                input["similarity_threshold"].as_f64().or(self.threshold).map(Value::from),
            ),
            (
                "max_vector_distance",
                input["max_vector_distance"].as_f64().or(self.max_distance).map(Value::from),
            ),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                search[key] = value;
            }
        }
        let found = run_within(call, &self.retriever, "retrieve", &search).await?;
        let documents = found["documents"].clone();
        match &self.ranker {
            Some(ranker) if documents.as_array().is_some_and(|documents| !documents.is_empty()) => {
                let given = json!({"query": query, "documents": documents});
                Ok(run_within(call, ranker, "rank", &given).await?["documents"].clone())
            }
            _ => Ok(documents),
        }
    }
}

#[async_trait]
impl Kind for VectorStoreRetriever {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let documents = self.documents(call, input).await.map_err(|halt| tool_failure(call, halt))?;
        let read = Document::read_list(Some(&documents))?;
        Ok(Arc::new(json!({"content": self.format.text(&read), "documents": documents})))
    }

    fn offer(&self) -> ToolSpec {
        ToolSpec {
            description: "Finds the documents of a knowledge base that have to do with a question.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "what is looked for, in words"},
                    "alpha": {
                        "type": ["number", "null"], "minimum": 0, "maximum": 1,
                        "description": "0 looks for the words alone, 1 for the meaning alone",
                    },
                    "filters": {"type": "object", "description": "fields of the metadata that documents must have, by name"},
                    "top_k": {"type": ["integer", "null"], "description": "how many documents to find at most"},
                    "similarity_threshold": {"type": ["number", "null"], "description": "the worst score that a document may have"},
                },
                "required": ["query"],
            }),
            parallel: true,
        }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "a VectorStoreRetriever")?;
        admission.required("query", TEXT)?;
        admission.optional("alpha", SHARE)?;
        admission.or("filters", Map::new(), MAPPING)?;
        admission.optional("top_k", WHOLE)?;
        admission.optional("similarity_threshold", NUMBER)?;
        admission.optional("max_vector_distance", DISTANCE)?;
        Ok(admission.done())
    }
}
