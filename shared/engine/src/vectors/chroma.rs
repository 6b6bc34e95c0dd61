//! Chroma, over version 2 of its HTTP API. Its scores are distances. It cannot search for words.

use super::{
    Columns, Query, StoreError, VectorStore,
    api::Api,
    filter::{Filter, Operator, dollar_words, joined},
};
use crate::{
    document::Document,
    flow::Call,
    load::{Fields, Loading},
    nodes::connection::{Setting, connection},
};
use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const HOST: Setting = Setting { key: "host", variable: "CHROMA_HOST", default: None };
const PORT: Setting = Setting { key: "port", variable: "CHROMA_PORT", default: None };
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Documents written by one call.
const BATCH: usize = 100;

#[derive(Debug)]
struct Chroma {
    /// Its base URL ends with `/collections`.
    api: Api,
    collection: String,
    /// Whether a write creates the collection.
    create: bool,
}

/// Reads the store of a node.
pub(crate) fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Box<dyn VectorStore>> {
    let connection = connection(&["Chroma"], fields, loading)?;
    let host = HOST.of(connection.as_ref(), fields, loading);
    let port = PORT.of(connection.as_ref(), fields, loading);
    let (host, port) = (host?, port?);
    let base = if host.contains("://") { host } else { format!("http://{host}") };
    let url = format!(
        "{}:{port}/api/v2/tenants/default_tenant/databases/default_database/collections",
        base.trim_end_matches('/')
    );
    Some(Box::new(Chroma {
        api: Api { store: "Chroma", url, headers: Vec::new(), silence: IDLE_TIMEOUT },
        collection: fields.text("index_name").unwrap_or("default").to_owned(),
        create: fields.bool("create_if_not_exist").unwrap_or(false),
    }))
}

impl Chroma {
    async fn call(
        &self,
        call: Call<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, StoreError> {
        let answer = self.api.ask(call, method, path, body).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(StoreError::store(format!("Chroma has no collection `{}`", self.collection)));
        }
        self.api.done(&answer)
    }

    /// Returns the id of the collection.
    async fn collection(&self, call: Call<'_>, create: bool) -> Result<String, StoreError> {
        let found = if create {
            let body = json!({"name": self.collection, "get_or_create": true});
            self.call(call, Method::POST, "", Some(&body)).await?
        } else {
            self.call(call, Method::GET, &format!("/{}", self.collection), None).await?
        };
        let id = found["id"].as_str().map(str::to_owned);
        id.ok_or_else(|| StoreError::store("Chroma answered without the id of the collection"))
    }
}

#[async_trait]
impl VectorStore for Chroma {
    async fn write(
        &self,
        call: Call<'_>,
        documents: Vec<Document>,
        _: Columns<'_>,
    ) -> Result<usize, StoreError> {
        let collection = self.collection(call, self.create).await?;
        for documents in documents.chunks(BATCH) {
            if let Some(document) = documents.iter().find(|document| document.embedding.is_none()) {
                let id = document.id.as_deref().unwrap_or_default();
                return Err(StoreError::value(format!("the document `{id}` has no embedding")));
            }
            // Chroma refuses an empty mapping, but accepts null.
            let metadata = |document: &Document| {
                document
                    .metadata
                    .clone()
                    .filter(|metadata| !metadata.is_empty())
                    .map_or(Value::Null, Value::from)
            };
            let body = json!({
                "ids": documents.iter().map(|document| document.id.as_deref()).collect::<Vec<_>>(),
                "documents": documents.iter().map(|document| &document.content).collect::<Vec<_>>(),
                "embeddings": documents.iter().map(|document| &document.embedding).collect::<Vec<_>>(),
                "metadatas": documents.iter().map(metadata).collect::<Vec<_>>(),
            });
            self.call(call, Method::POST, &format!("/{collection}/upsert"), Some(&body)).await?;
        }
        Ok(documents.len())
    }

    async fn search(&self, call: Call<'_>, query: Query<'_>) -> Result<Vec<Document>, StoreError> {
        let collection = self.collection(call, false).await?;
        let mut body = json!({
            "query_embeddings": [query.vector],
            "n_results": query.limit,
            "include": ["documents", "metadatas", "distances"],
        });
        if let Some(filter) = query.filter {
            let (metadata_filters, contents) = parts(filter)?;
            if let Some(metadata_filters) = metadata_filters {
                body["where"] = metadata_filters;
            }
            if let Some(content) = contents {
                body["where_document"] = json!({"$contains": content});
            }
        }
        let answer = self.call(call, Method::POST, &format!("/{collection}/query"), Some(&body)).await?;
        let column = |key: &str| answer[key][0].as_array().map(Vec::as_slice).unwrap_or_default();
        let (contents, metadata, distances) = (column("documents"), column("metadatas"), column("distances"));
        let documents = column("ids").iter().enumerate().map(|(index, id)| Document {
            id: id.as_str().map(str::to_owned),
            content: contents.get(index).and_then(Value::as_str).unwrap_or_default().to_owned(),
            metadata: metadata.get(index).and_then(Value::as_object).cloned(),
            score: distances.get(index).and_then(Value::as_f64),
            embedding: None,
        });
        Ok(documents.collect())
    }

    fn passes(&self, score: f64, threshold: f64) -> bool {
        score <= threshold
    }
}

/// Translates a filter for Chroma: into a filter of the metadata, and a text that the content must contain. The latter
/// is possible at the top level only.
fn parts(filter: &Filter) -> Result<(Option<Value>, Option<String>), StoreError> {
    let single = std::slice::from_ref(filter);
    let conditions = if let Filter::All(conditions) = filter { conditions.as_slice() } else { single };
    let (mut metadata_filters, mut content) = (Vec::new(), None);
    for condition in conditions {
        match condition {
            Filter::Field { field, operator: Operator::Equal, value: Value::String(text) }
                if field == "content" =>
            {
                content = Some(text.clone());
            }
            other => metadata_filters.push(dollar_words("Chroma", other)?),
        }
    }
    Ok((joined("$and", metadata_filters), content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translates_filters() {
        let field = |field: &str, operator: &str, value: Value| json!({"field": field, "operator": operator, "value": value});
        for (filter, expected) in [
            (json!({"a": 1}), (json!({"a": {"$eq": 1}}), None)),
            (
                json!({"a": 1, "b": ["x"]}),
                (json!({"$and": [{"a": {"$eq": 1}}, {"b": {"$in": ["x"]}}]}), None),
            ),
            (field("metadata.a", ">=", json!(2)), (json!({"a": {"$gte": 2}}), None)),
            (
                json!({"operator": "OR", "conditions": [
                    field("a", "not in", json!([1])),
                    {"operator": "AND", "conditions": [field("b", "!=", json!("x"))]},
                ]}),
                (json!({"$or": [{"a": {"$nin": [1]}}, {"b": {"$ne": "x"}}]}), None),
            ),
            (json!({"content": "fox"}), (Value::Null, Some("fox".to_owned()))),
        ] {
            let filter =
                Filter::read(filter.as_object().expect("a mapping")).expect("it reads").expect("one");
            let (metadata_filters, content) = parts(&filter).expect("it translates");
            assert_eq!((metadata_filters.unwrap_or_default(), content), expected);
        }
    }
}
