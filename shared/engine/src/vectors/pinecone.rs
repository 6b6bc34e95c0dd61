//! Pinecone: one API to manage and locate indexes, and the API of the index itself.

use super::{Columns, Query, StoreError, VectorStore, api::Api, filter::dollar_words};
use crate::{
    document::Document,
    flow::Call,
    http_client::taken,
    load::{Fields, Loading},
    nodes::connection::{Setting, connection},
};
use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

const KEY: Setting = Setting { key: "api_key", variable: "PINECONE_API_KEY", default: None };
/// The reference's client reads the same environment variable.
const HOST: Setting =
    Setting { key: "host", variable: "PINECONE_CONTROLLER_HOST", default: Some("https://api.pinecone.io") };
const CLOUD: Setting = Setting { key: "cloud", variable: "PINECONE_CLOUD", default: None };
const REGION: Setting = Setting { key: "region", variable: "PINECONE_REGION", default: None };
const ENVIRONMENT: Setting = Setting { key: "environment", variable: "PINECONE_ENVIRONMENT", default: None };
const POD_TYPE: Setting = Setting { key: "pod_type", variable: "PINECONE_POD_TYPE", default: None };
const METRICS: &[(&str, &str)] =
    &[("cosine", "cosine"), ("euclidean", "euclidean"), ("dotproduct", "dotproduct")];
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Timeout of waiting for a new index, and the interval between checks.
const READY_TIMEOUT: Duration = Duration::from_mins(5);
const READY_CHECK_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Pinecone {
    /// The API to manage indexes.
    indexes: Api,
    index: String,
    namespace: String,
    content: String,
    batch: usize,
    dimension: u32,
    metric: &'static str,
    /// The spec with which a write creates the index, if it may.
    create: Option<Value>,
    /// The URL of the index, once it is known.
    host: Mutex<Option<String>>,
}

/// Reads the store of a retriever.
pub(crate) fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Box<dyn VectorStore>> {
    Some(Box::new(Pinecone::read(fields, loading)?))
}

/// Reads the store of a writer, which may create the index.
pub(crate) fn read_to_write(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Box<dyn VectorStore>> {
    let store = Pinecone::read(fields, loading);
    let kinds = [("serverless", true), ("pod", false)];
    let setting = |setting: Setting| setting.of_node(fields, loading);
    let pods = fields.count("pods").unwrap_or(1);
    let create = fields.bool("create_if_not_exist").unwrap_or(false);
    // As in the reference, the location of an index is required even if the index is never created.
    let spec = match fields.choice("index_type", &kinds) {
        Some(true) => {
            fields.know(&[ENVIRONMENT.key, POD_TYPE.key]);
            let (cloud, region) = (setting(CLOUD), setting(REGION));
            Some(json!({"serverless": {"cloud": cloud?, "region": region?}}))
        }
        Some(false) => {
            fields.know(&[CLOUD.key, REGION.key]);
            let (environment, kind) = (setting(ENVIRONMENT), setting(POD_TYPE));
            Some(json!({"pod": {"environment": environment?, "pod_type": kind?, "pods": pods}}))
        }
        None => {
            fields.know(&[CLOUD.key, REGION.key, ENVIRONMENT.key, POD_TYPE.key]);
            if create && fields.get("index_type").is_none() {
                let message = "to create an index, set `index_type` to `serverless` or `pod`";
                fields.mistake(fields.spot("create_if_not_exist"), message.into());
            }
            None
        }
    };
    Some(Box::new(Pinecone { create: spec.filter(|_| create), ..store? }))
}

impl Pinecone {
    fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let connection = connection(&["Pinecone"], fields, loading)?;
        let (key, url) =
            (KEY.of(connection.as_ref(), fields, loading), HOST.of(connection.as_ref(), fields, loading));
        let index = fields.text("index_name").unwrap_or("default");
        if !is_index_name(index) {
            let message = "an index's name must be words of lower-case letters and digits, joined by `-`, and begin \
                           with a letter";
            fields.mistake(fields.spot("index_name"), message.into());
            return None;
        }
        Some(Self {
            indexes: Api {
                store: "Pinecone",
                url: with_scheme(&url?),
                headers: vec![("api-key", key?)],
                silence: IDLE_TIMEOUT,
            },
            index: index.to_owned(),
            namespace: fields.text("namespace").unwrap_or("default").to_owned(),
            content: fields.text("content_key").unwrap_or("content").to_owned(),
            batch: fields.count("batch_size").filter(|size| *size > 0).map_or(100, |size| size as usize),
            dimension: fields.count("dimension").unwrap_or(1536),
            metric: fields.choice("metric", METRICS).unwrap_or("cosine"),
            create: None,
            host: Mutex::default(),
        })
    }

    /// Returns Pinecone's description of the index; `None` if it does not exist.
    async fn describe_index(&self, call: Call<'_>) -> Result<Option<Value>, StoreError> {
        let answer = self.indexes.ask(call, Method::GET, &format!("/indexes/{}", self.index), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.indexes.done(&answer).map(Some)
    }

    /// Creates the index, and waits until it is ready.
    async fn create_index(&self, call: Call<'_>, spec: &Value) -> Result<Value, StoreError> {
        let index = json!({
            "name": self.index, "dimension": self.dimension, "metric": self.metric, "spec": spec,
        });
        let answer = self.indexes.ask(call, Method::POST, "/indexes", Some(&index)).await?;
        // Another writer may have created it just before.
        if answer.status != StatusCode::CONFLICT {
            self.indexes.done(&answer)?;
        }
        let ready = async {
            loop {
                match self.describe_index(call).await? {
                    Some(index) if index["status"]["ready"] == true => return Ok(index),
                    _ => tokio::time::sleep(READY_CHECK_INTERVAL).await,
                }
            }
        };
        tokio::time::timeout(READY_TIMEOUT, ready).await.unwrap_or_else(|_| {
            let waited = READY_TIMEOUT.as_secs();
            Err(StoreError::store(format!("the index `{}` is not ready after {waited} s", self.index)))
        })
    }

    /// Returns the API of the index.
    async fn api(&self, call: Call<'_>, create: Option<&Value>) -> Result<Api, StoreError> {
        let known = self.host.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let url = if let Some(known) = known {
            known
        } else {
            let index = match (self.describe_index(call).await?, create) {
                (Some(index), _) => index,
                (None, Some(spec)) => self.create_index(call, spec).await?,
                (None, None) => {
                    let message = format!(
                        "Pinecone has no index `{}`; a writer with `create_if_not_exist` and `index_type` creates it",
                        self.index
                    );
                    return Err(StoreError::value(message));
                }
            };
            let host = index["host"].as_str().filter(|host| !host.is_empty());
            let host = host.ok_or_else(|| StoreError::store("Pinecone answered without the index's host"))?;
            let url = with_scheme(host);
            *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
            url
        };
        Ok(Api { url, ..self.indexes.clone() })
    }

    /// Calls the index. After a failure its URL is looked up again, because a recreated index has another.
    async fn call_index(
        &self,
        call: Call<'_>,
        api: &Api,
        path: &str,
        body: &Value,
    ) -> Result<Value, StoreError> {
        let answer = api.json(call, Method::POST, path, Some(body)).await;
        if answer.is_err() {
            *self.host.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answer
    }
}

/// Whether a name is words of lower-case letters and digits, joined by single `-`, and begins with a letter.
fn is_index_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(|word| !word.is_empty() && word.bytes().all(is_plain))
}

fn with_scheme(host: &str) -> String {
    let host = host.trim_end_matches('/');
    if host.contains("://") { host.to_owned() } else { format!("https://{host}") }
}

#[async_trait]
impl VectorStore for Pinecone {
    async fn write(
        &self,
        call: Call<'_>,
        documents: Vec<Document>,
        columns: Columns<'_>,
    ) -> Result<usize, StoreError> {
        let content = columns.content.unwrap_or(&self.content);
        let vectors = documents.into_iter().map(|document| {
            let id = document.id.ok_or_else(|| StoreError::value("a document needs an `id` to be stored"))?;
            let mut metadata = document.metadata.unwrap_or_default();
            metadata.insert(content.to_owned(), document.content.into());
            // As in the reference: Pinecone would refuse a document without a vector.
            let vector = document.embedding.unwrap_or_else(|| vec![-10.0; self.dimension as usize]);
            Ok(json!({"id": id, "values": vector, "metadata": metadata}))
        });
        let vectors = vectors.collect::<Result<Vec<_>, StoreError>>()?;
        let api = self.api(call, self.create.as_ref()).await?;
        let mut written = 0;
        for vectors in vectors.chunks(self.batch) {
            let body = json!({"vectors": vectors, "namespace": self.namespace});
            let answer = self.call_index(call, &api, "/vectors/upsert", &body).await?;
            let count = answer["upsertedCount"].as_u64().and_then(|count| usize::try_from(count).ok());
            written += count.unwrap_or(vectors.len());
        }
        Ok(written)
    }

    async fn search(&self, call: Call<'_>, query: Query<'_>) -> Result<Vec<Document>, StoreError> {
        if query.vector.is_empty() {
            return Err(StoreError::value("the vector of the query cannot be empty"));
        }
        let mut body = json!({
            "topK": query.limit,
            "vector": query.vector,
            "namespace": self.namespace,
            "includeValues": false,
            "includeMetadata": true,
        });
        if let Some(filter) = query.filter {
            body["filter"] = dollar_words("Pinecone", filter)?;
        }
        let api = self.api(call, None).await?;
        let mut answer = self.call_index(call, &api, "/query", &body).await?;
        let Value::Array(hits) = taken(&mut answer, "matches") else { return Ok(Vec::new()) };
        let content = query.columns.content.unwrap_or(&self.content);
        Ok(hits.into_iter().map(|hit| document(hit, content)).collect())
    }

    fn passes(&self, score: f64, threshold: f64) -> bool {
        if self.metric == "euclidean" { score <= threshold } else { score >= threshold }
    }
}

fn document(mut hit: Value, content: &str) -> Document {
    let Value::Object(mut metadata) = taken(&mut hit, "metadata") else {
        let id = hit["id"].as_str().map(str::to_owned);
        return Document { id, score: hit["score"].as_f64(), ..Document::default() };
    };
    let content = metadata.remove(content).and_then(|text| text.as_str().map(str::to_owned));
    Document {
        id: hit["id"].as_str().map(str::to_owned),
        content: content.unwrap_or_default(),
        metadata: Some(metadata),
        score: hit["score"].as_f64(),
        embedding: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_names_of_indexes() {
        for (name, is_valid) in [("default", true), ("a1-b2", true), ("a", true), ("K", false), ("1a", false)]
        {
            assert_eq!(is_index_name(name), is_valid, "{name}");
        }
        assert!(
            !is_index_name("") && !is_index_name("a--b") && !is_index_name("a-") && !is_index_name("a_b")
        );
    }
}
