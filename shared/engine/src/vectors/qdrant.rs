//! Qdrant, over its REST API. A document is the payload of a point; the payload's `metadata` holds the document's
//! metadata.

use super::{
    Columns, Query, StoreError, VectorStore,
    api::Api,
    filter::{Filter, Operator},
};
use crate::{
    document::Document,
    flow::Call,
    http_client::{Answer, taken},
    load::{Fields, Loading},
    nodes::connection::{Setting, connection},
};
use async_trait::async_trait;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Map, Value, json};
use std::{collections::HashSet, time::Duration};
use uuid::Uuid;

const URL: Setting = Setting { key: "url", variable: "QDRANT_URL", default: None };
const KEY: Setting = Setting { key: "api_key", variable: "QDRANT_API_KEY", default: None };
/// The port, unless the URL names another; the scheme's default port is not used.
const PORT: u16 = 6333;
const METRICS: &[(&str, &str)] = &[("cosine", "Cosine"), ("dot_product", "Dot"), ("l2", "Euclid")];
/// The types of index that a field of a payload can have.
const SCHEMAS: &[&str] = &["keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid"];
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Documents written by one call.
const BATCH: usize = 100;
/// Limit on the fields that one search indexes because Qdrant requires it.
const MAX_INDEXED: usize = 5;

#[derive(Debug)]
struct Qdrant {
    api: Api,
    collection: String,
    content: String,
    dimension: u32,
    distance: &'static str,
    /// Whether a write creates the collection.
    create: bool,
}

/// Reads the store of a node.
pub(crate) fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Box<dyn VectorStore>> {
    let connection = connection(&["Qdrant"], fields, loading)?;
    let setting = |setting: Setting| setting.of(connection.as_ref(), fields, loading);
    let (url, key) = (setting(URL), setting(KEY));
    let collection = fields.text("index_name").unwrap_or("default");
    if collection.is_empty() || collection.contains(['/', '?', '#', '%']) {
        fields.mistake(fields.spot("index_name"), "this is not a valid name of a collection".into());
        return None;
    }
    let given = url?;
    let Some(url) = base(&given) else {
        fields.mistake(fields.spot("connection"), format!("`{given}` is not a URL"));
        return None;
    };
    Some(Box::new(Qdrant {
        api: Api { store: "Qdrant", url, headers: vec![("api-key", key?)], silence: IDLE_TIMEOUT },
        collection: collection.to_owned(),
        content: fields.text("content_key").unwrap_or("content").to_owned(),
        dimension: fields.count("dimension").unwrap_or(1536),
        distance: fields.choice("metric", METRICS).unwrap_or("Cosine"),
        create: fields.bool("create_if_not_exist").unwrap_or(false),
    }))
}

/// Scheme, host and port. As in the reference's client, the default scheme is HTTPS, and the path is dropped.
fn base(given: &str) -> Option<String> {
    let given = if given.contains("://") { given.to_owned() } else { format!("https://{given}") };
    let url = Url::parse(&given).ok()?;
    // The URL parser drops the scheme's default port.
    let authority = given.split("://").nth(1)?.split(['/', '?', '#']).next()?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if has_port { url.port_or_known_default()? } else { PORT };
    Some(format!("{}://{}:{port}", url.scheme(), url.host_str()?))
}

impl Qdrant {
    fn path(&self, rest: &str) -> String {
        format!("/collections/{}{rest}", self.collection)
    }

    async fn json(
        &self,
        call: Call<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, StoreError> {
        let mut answer = self.api.json(call, method, &self.path(path), body).await?;
        Ok(taken(&mut answer, "result"))
    }

    /// Ensures that the collection exists.
    async fn collection(&self, call: Call<'_>) -> Result<(), StoreError> {
        if self.json(call, Method::GET, "/exists", None).await?["exists"] == true {
            return Ok(());
        }
        if !self.create {
            let message = format!(
                "Qdrant has no collection `{}`; a writer with `create_if_not_exist` creates it",
                self.collection
            );
            return Err(StoreError::of("QdrantStoreError", message));
        }
        let vectors = json!({"size": self.dimension, "distance": self.distance, "on_disk": false});
        let body = json!({"vectors": vectors});
        let answer = self.api.ask(call, Method::PUT, &self.path(""), Some(&body)).await?;
        // Another writer may have created it just before.
        if answer.status != StatusCode::CONFLICT {
            self.api.done(&answer)?;
        }
        Ok(())
    }

    /// Searches. If Qdrant requires an index for a field of the filter, creates it and searches again.
    async fn search_with_indexes(&self, call: Call<'_>, body: &Value) -> Result<Value, StoreError> {
        let path = self.path("/points/query");
        let mut indexed = Vec::new();
        loop {
            let answer = self.api.ask(call, Method::POST, &path, Some(body)).await?;
            match required_index(&answer) {
                Some((field, schema)) if indexed.len() < MAX_INDEXED && !indexed.contains(&field) => {
                    let index = json!({"field_name": field, "field_schema": schema});
                    self.json(call, Method::PUT, "/index?wait=true", Some(&index)).await?;
                    indexed.push(field);
                }
                _ => return self.api.done(&answer),
            }
        }
    }

    /// The point of a document. Its id must be a UUID; it is the same as in the reference.
    fn point(document: Document, content: &str) -> Result<Value, StoreError> {
        let Some(id) = document.id else {
            return Err(StoreError::of("TypeError", "a document needs an `id` to be stored"));
        };
        let mut payload = Map::new();
        payload.insert("id".to_owned(), id.clone().into());
        payload.insert("metadata".to_owned(), document.metadata.into());
        payload.insert("score".to_owned(), document.score.into());
        payload.insert(content.to_owned(), document.content.into());
        Ok(json!({
            "id": Uuid::new_v5(&Uuid::nil(), id.as_bytes()).simple().to_string(),
            "vector": document.embedding.map_or_else(|| json!({}), Value::from),
            "payload": payload,
        }))
    }
}

/// If a search was refused because a field of the payload has no index: the field, and the type of index.
fn required_index(answer: &Answer) -> Option<(String, &'static str)> {
    const PREFIX: &str = "index required but not found for \"";
    if answer.status != StatusCode::BAD_REQUEST {
        return None;
    }
    let text = answer.error_text();
    let start = text.to_ascii_lowercase().find(PREFIX)?;
    let (field, rest) = text[start + PREFIX.len()..].split_once('"')?;
    let kinds = rest.split_once('[')?.1.split_once(']')?.0;
    let mut kinds = kinds.split(',').map(|kind| kind.trim_matches([' ', '"', '\'']).to_ascii_lowercase());
    let schema = kinds.find_map(|kind| SCHEMAS.iter().find(|known| **known == kind));
    Some((field.to_owned(), schema.copied().unwrap_or("keyword")))
}

#[async_trait]
impl VectorStore for Qdrant {
    async fn write(
        &self,
        call: Call<'_>,
        documents: Vec<Document>,
        columns: Columns<'_>,
    ) -> Result<usize, StoreError> {
        let content = columns.content.unwrap_or(&self.content);
        let points = documents.into_iter().map(|document| Self::point(document, content));
        let mut points = points.collect::<Result<Vec<_>, _>>()?;
        // As in the reference, the first of several documents with the same id is kept, and existing documents are not
        // replaced.
        let mut seen = HashSet::new();
        points.retain(|point| seen.insert(point["id"].as_str().unwrap_or_default().to_owned()));
        self.collection(call).await?;
        let mut duplicates = Vec::new();
        for points in points.chunks(BATCH) {
            let ids: Vec<&Value> = points.iter().map(|point| &point["id"]).collect();
            let body = json!({"ids": ids, "with_payload": true, "with_vector": false});
            let existing = self.json(call, Method::POST, "/points", Some(&body)).await?;
            // A node that is executed again after its worker died finds the documents that it wrote before.
            let is_different =
                |existing: &&Value| points.iter().all(|point| point["payload"] != existing["payload"]);
            let existing = existing.as_array().into_iter().flatten().filter(is_different);
            duplicates.extend(
                existing.filter_map(|existing| existing["payload"]["id"].as_str().map(str::to_owned)),
            );
        }
        if !duplicates.is_empty() {
            let (ids, collection) = (duplicates.join(", "), &self.collection);
            let message = format!("the collection `{collection}` has other documents of these ids: {ids}");
            return Err(StoreError::of("VectorStoreDuplicateDocumentException", message));
        }
        for points in points.chunks(BATCH) {
            self.json(call, Method::PUT, "/points?wait=true", Some(&json!({"points": points}))).await?;
        }
        Ok(points.len())
    }

    async fn search(&self, call: Call<'_>, query: Query<'_>) -> Result<Vec<Document>, StoreError> {
        let mut body = json!({
            "query": {"nearest": query.vector},
            "limit": query.limit,
            "with_vector": false,
            "with_payload": true,
        });
        if let Some(filter) = query.filter {
            body["filter"] = clause(filter)?;
        }
        if let Some(threshold) = query.threshold {
            body["score_threshold"] = threshold.into();
        }
        let mut answer = self.search_with_indexes(call, &body).await?;
        let Value::Array(points) = taken(&mut taken(&mut answer, "result"), "points") else {
            return Ok(Vec::new());
        };
        let content = query.columns.content.unwrap_or(&self.content);
        Ok(points.into_iter().map(|point| document(point, content)).collect())
    }

    fn negates(&self) -> bool {
        true
    }

    /// Qdrant applies the threshold itself: it knows the collection's metric.
    fn passes(&self, _: f64, _: f64) -> bool {
        true
    }
}

fn document(mut point: Value, content: &str) -> Document {
    let mut payload = match taken(&mut point, "payload") {
        Value::Object(payload) => payload,
        _ => Map::new(),
    };
    let mut text = |key: &str| payload.remove(key).and_then(|text| text.as_str().map(str::to_owned));
    let (content, id) = (text(content), text("id"));
    let metadata = match payload.remove("metadata") {
        Some(Value::Object(metadata)) => Some(metadata),
        _ => None,
    };
    Document {
        id: id.or_else(|| point["id"].as_str().map(str::to_owned)),
        content: content.unwrap_or_default(),
        metadata,
        score: point["score"].as_f64(),
        embedding: None,
    }
}

/// Translates a whole filter.
fn clause(filter: &Filter) -> Result<Value, StoreError> {
    let (word, filters) = match filter {
        Filter::All(filters) => ("must", filters),
        Filter::Any(filters) => ("should", filters),
        Filter::Neither(filters) => ("must_not", filters),
        Filter::Field { .. } => {
            let condition = condition(filter)?;
            // Some comparisons already are filters.
            return Ok(if condition["key"].is_null() { condition } else { json!({"must": [condition]}) });
        }
    };
    let conditions = filters.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({word: conditions}))
}

/// Translates a condition within a filter, which may be a filter itself.
fn condition(filter: &Filter) -> Result<Value, StoreError> {
    let Filter::Field { field, operator, value } = filter else { return clause(filter) };
    let key = if field.starts_with("metadata.") { field.clone() } else { format!("metadata.{field}") };
    let range = |word: &str| {
        let bound = match value {
            Value::Bool(flag) => json!(u8::from(*flag)),
            other => other.clone(),
        };
        Ok(json!({"key": key, "range": {word: bound}}))
    };
    // Which texts are compared as words and which as values follows the reference.
    let one = |value: &Value, words: fn(&str) -> bool| match value {
        Value::String(text) if words(text) => Ok(json!({"key": key, "match": {"text": text}})),
        Value::String(_) | Value::Bool(_) => Ok(json!({"key": key, "match": {"value": value}})),
        Value::Number(number) if !number.is_f64() => Ok(json!({"key": key, "match": {"value": value}})),
        other => Err(StoreError::filter(format!("Qdrant cannot compare `{field}` to {other}"))),
    };
    let items = || value.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    match operator {
        Operator::Equal => one(value, has_space),
        Operator::NotEqual => Ok(json!({"must_not": [one(value, is_word)?]})),
        Operator::In => {
            let any = items().map(|item| one(item, is_word)).collect::<Result<Vec<_>, _>>()?;
            Ok(json!({"should": any}))
        }
        Operator::NotIn => {
            let none = items().map(|item| one(item, has_space)).collect::<Result<Vec<_>, _>>()?;
            Ok(json!({"must_not": none}))
        }
        Operator::ContainsAny => Ok(json!({"key": key, "match": {"any": value}})),
        Operator::Greater => range("gt"),
        Operator::GreaterOrEqual => range("gte"),
        Operator::Less => range("lt"),
        Operator::LessOrEqual => range("lte"),
    }
}

fn has_space(text: &str) -> bool {
    text.contains(' ')
}

fn is_word(text: &str) -> bool {
    !has_space(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        for (given, expected) in [
            ("http://127.0.0.1", "http://127.0.0.1:6333"),
            ("https://x.y/", "https://x.y:6333"),
            ("x.y", "https://x.y:6333"),
            ("https://x.y:443", "https://x.y:443"),
            ("http://[::1]:6334", "http://[::1]:6334"),
            ("http://[::1]", "http://[::1]:6333"),
        ] {
            assert_eq!(base(given).as_deref(), Some(expected), "{given}");
        }
        assert_eq!(base("http://"), None);
    }

    /// The filters that the reference's client sends.
    #[test]
    fn translates_filters() {
        let field = |field: &str, operator: &str, value: Value| json!({"field": field, "operator": operator, "value": value});
        let equal =
            |key: &str, value: Value| json!({"key": format!("metadata.{key}"), "match": {"value": value}});
        let text = |key: &str, text: &str| json!({"key": format!("metadata.{key}"), "match": {"text": text}});
        for (filter, expected) in [
            (field("lang", "==", json!("en")), json!({"must": [equal("lang", json!("en"))]})),
            (field("metadata.lang", "==", json!("a b")), json!({"must": [text("lang", "a b")]})),
            (field("n", "!=", json!("x")), json!({"must_not": [text("n", "x")]})),
            (field("n", "!=", json!("x y")), json!({"must_not": [equal("n", json!("x y"))]})),
            (
                field("n", "in", json!([1, "x", "x y"])),
                json!({"should": [equal("n", json!(1)), text("n", "x"), equal("n", json!("x y"))]}),
            ),
            (
                field("n", "not in", json!([true, "x", "x y"])),
                json!({"must_not": [equal("n", json!(true)), equal("n", json!("x")), text("n", "x y")]}),
            ),
            (
                field("n", "contains_any", json!(["a", "b"])),
                json!({"must": [{"key": "metadata.n", "match": {"any": ["a", "b"]}}]}),
            ),
            (
                field("n", ">=", json!("2024-01-01")),
                json!({"must": [{"key": "metadata.n", "range": {"gte": "2024-01-01"}}]}),
            ),
            (
                json!({"operator": "NOT", "conditions": [field("a", "==", json!(1))]}),
                json!({"must_not": [equal("a", json!(1))]}),
            ),
            (
                json!({"operator": "AND", "conditions": [
                    field("a", "!=", json!(1)),
                    {"operator": "OR", "conditions": [
                        {"operator": "AND", "conditions": [field("c", ">", json!(1)), field("d", "<", json!(1.5))]},
                        field("b", "==", json!(1)),
                    ]},
                ]}),
                json!({"must": [
                    {"must_not": [equal("a", json!(1))]},
                    {"should": [
                        {"must": [
                            {"key": "metadata.c", "range": {"gt": 1}}, {"key": "metadata.d", "range": {"lt": 1.5}},
                        ]},
                        equal("b", json!(1)),
                    ]},
                ]}),
            ),
        ] {
            let read = Filter::read(filter.as_object().expect("a mapping")).expect("it reads").expect("one");
            assert_eq!(clause(&read), Ok(expected), "{filter}");
        }
        let half = Filter::read(field("n", "==", json!(1.5)).as_object().expect("a mapping"));
        assert!(clause(&half.expect("it reads").expect("one")).is_err());
    }
}
