//! Weaviate: writes over its REST API; searches over its GraphQL API, by vector, by words or by both.

use super::{
    Columns, Query, StoreError, VectorStore,
    api::Api,
    filter::{Filter, Operator, metadata_key, no_not},
};
use crate::{
    document::Document,
    flow::Call,
    load::{Fields, Loading},
    nodes::connection::{Setting, connection},
};
use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::time::Duration;
use uuid::Uuid;

const URL: Setting = Setting { key: "url", variable: "WEAVIATE_URL", default: None };
const HOST: Setting = Setting { key: "http_host", variable: "WEAVIATE_HTTP_HOST", default: None };
const PORT: Setting = Setting { key: "http_port", variable: "WEAVIATE_HTTP_PORT", default: Some("443") };
const KEY: Setting = Setting { key: "api_key", variable: "WEAVIATE_API_KEY", default: None };
const IDLE_TIMEOUT: Duration = Duration::from_mins(3);
/// Documents written by one call.
const BATCH: usize = 100;
/// The property that holds the id of the document: the object's own id must be a UUID.
const ID: &str = "_original_id";
/// Properties that are searched for words besides the content, if they are searchable text in the collection.
const SEARCHED_PROPERTIES: &[&str] = &[
    "filename",
    "file_name",
    "file_path",
    "title",
    "dynamiq_item_source_provider_title",
    "sheet_name",
    "section",
    "source",
    "url",
];
/// Types of properties that GraphQL can select by name, without subfields.
const PLAIN_TYPES: &[&str] = &["text", "string", "int", "number", "boolean", "date", "uuid"];

#[derive(Debug)]
struct Weaviate {
    api: Api,
    collection: String,
    content: String,
    tenant: Option<String>,
    create: bool,
}

/// The schema of a collection.
struct Collection {
    /// Names and types.
    properties: Vec<(String, String)>,
    searchable: Vec<String>,
    /// The name of its vector, if its vectors are named.
    vector: Option<String>,
}

/// Reads the store of a node.
pub(crate) fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Box<dyn VectorStore>> {
    let connection = connection(&["Weaviate"], fields, loading)?;
    let setting = |setting: Setting| setting.of(connection.as_ref(), fields, loading);
    let is_custom =
        connection.as_ref().and_then(|connection| connection.text("deployment_type")) == Some("custom");
    // The gRPC port is not used.
    let url = if is_custom {
        let (host, port) = (setting(HOST), setting(PORT));
        format!("{}:{}", host?, port?)
    } else {
        setting(URL)?
    };
    let url = if url.contains("://") { url } else { format!("https://{url}") };
    let name = fields.text("index_name").unwrap_or("default");
    let Some(collection) = collection_name(name) else {
        let message = "a collection's name must be letters, digits and `_`, and begin with a letter";
        fields.mistake(fields.spot("index_name"), message.into());
        return None;
    };
    Some(Box::new(Weaviate {
        api: Api {
            store: "Weaviate",
            url: format!("{}/v1/", url.trim_end_matches('/')),
            headers: vec![("authorization", format!("Bearer {}", setting(KEY)?))],
            silence: IDLE_TIMEOUT,
        },
        collection,
        content: fields.text("content_key").unwrap_or("content").to_owned(),
        tenant: fields.text("tenant_name").filter(|name| !name.is_empty()).map(str::to_owned),
        create: fields.bool("create_if_not_exist").unwrap_or(false),
    }))
}

/// Weaviate's name of a collection, which begins with a capital letter. `None` if the name is invalid.
fn collection_name(name: &str) -> Option<String> {
    let mut characters = name.chars();
    let first = characters.next().filter(char::is_ascii_alphabetic)?.to_ascii_uppercase();
    is_word(characters.as_str()).then(|| format!("{first}{}", characters.as_str()))
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_property(name: &str) -> bool {
    is_word(name) && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

impl Weaviate {
    /// Returns the collection, and creates it first if it does not exist and `create` is set.
    async fn collection(&self, call: Call<'_>, create: bool) -> Result<Collection, StoreError> {
        let path = format!("schema/{}", self.collection);
        let mut answer = self.api.ask(call, Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND && create {
            let text = |name: &str| json!({"name": name, "dataType": ["text"]});
            let mut class = json!({
                "class": self.collection,
                "invertedIndexConfig": {"indexNullState": true},
                "vectorConfig": {"default": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"}},
                "properties": [text(&self.content), text(ID)],
            });
            if self.tenant.is_some() {
                class["multiTenancyConfig"] = json!({"enabled": true});
            }
            // Another writer may have created it just before, so the next request checks whether it exists.
            self.api.ask(call, Method::POST, "schema", Some(&class)).await?;
            answer = self.api.ask(call, Method::GET, &path, None).await?;
        }
        if answer.status == StatusCode::NOT_FOUND {
            let message = format!(
                "Weaviate has no collection `{}`; a writer with `create_if_not_exist` creates it",
                self.collection
            );
            return Err(StoreError::value(message));
        }
        let class = self.api.done(&answer)?;
        if self.tenant.is_some() && class["multiTenancyConfig"]["enabled"] != true {
            let message = format!("the collection `{}` has no tenants", self.collection);
            return Err(StoreError::value(message));
        }
        Ok(Collection::of(&class))
    }

    /// Whether the tenant exists; true without a tenant.
    async fn has_tenant(&self, call: Call<'_>) -> Result<bool, StoreError> {
        let Some(tenant) = &self.tenant else { return Ok(true) };
        let tenants =
            self.api.json(call, Method::GET, &format!("schema/{}/tenants", self.collection), None).await?;
        Ok(tenants.as_array().into_iter().flatten().any(|known| known["name"] == tenant.as_str()))
    }

    fn object(
        &self,
        document: Document,
        columns: Columns<'_>,
        collection: &Collection,
    ) -> Result<Value, StoreError> {
        let Some(id) = document.id else {
            return Err(StoreError::value("a document needs an `id` to be stored"));
        };
        let mut properties = Map::new();
        properties.insert(columns.content.unwrap_or(&self.content).to_owned(), document.content.into());
        properties.insert(ID.to_owned(), id.clone().into());
        properties.insert("score".to_owned(), document.score.into());
        properties.extend(document.metadata.unwrap_or_default());
        if let Some(invalid) = properties.keys().find(|name| !is_property(name)) {
            let message = format!(
                "`{invalid}` of the document `{id}` is not a valid name of a property: use letters, digits and `_`"
            );
            return Err(StoreError::value(message));
        }
        let mut object = json!({
            "class": self.collection,
            // The same id as in the reference, so that each replaces the other's documents.
            "id": Uuid::new_v5(&Uuid::NAMESPACE_DNS, id.as_bytes()),
            "properties": properties,
        });
        if let Some(vector) = document.embedding {
            match &collection.vector {
                Some(name) => object["vectors"] = json!({name.as_str(): vector}),
                None => object["vector"] = vector.into(),
            }
        }
        if let Some(tenant) = &self.tenant {
            object["tenant"] = tenant.as_str().into();
        }
        Ok(object)
    }

    /// The GraphQL query of a search.
    fn graphql(&self, query: Query<'_>, collection: &Collection) -> Result<String, StoreError> {
        let content = query.columns.content.unwrap_or(&self.content);
        let mut arguments = vec![format!("limit: {}", query.limit)];
        if let Some(tenant) = &self.tenant {
            arguments.push(format!("tenant: {}", text(tenant)));
        }
        let vector = Value::from(query.vector);
        let target = collection.vector.as_deref().map(|name| format!(", targetVectors: [{}]", text(name)));
        let target = target.unwrap_or_default();
        let score = if let Some(words) = query.words {
            let mut searched = vec![content];
            searched.extend(SEARCHED_PROPERTIES);
            searched.retain(|name| collection.searchable.iter().any(|known| known == name));
            let searched: Vec<String> = searched.into_iter().map(text).collect();
            let max_distance = query.max_distance.map(|distance| format!(", maxVectorDistance: {distance}"));
            arguments.push(format!(
                "hybrid: {{query: {}, vector: {vector}, alpha: {}, fusionType: relativeScoreFusion, \
                     properties: [{}]{}{target}}}",
                text(words),
                query.alpha,
                searched.join(", "),
                max_distance.unwrap_or_default(),
            ));
            "score"
        } else {
            arguments.push(format!("nearVector: {{vector: {vector}{target}}}"));
            "certainty"
        };
        if let Some(filter) = query.filter {
            arguments.push(format!("where: {}", clause(filter, collection)?));
        }
        let properties: Vec<&str> = collection.properties.iter().map(|(name, _)| name.as_str()).collect();
        Ok(format!(
            "{{ Get {{ {}({}) {{ {} _additional {{ {score} }} }} }} }}",
            self.collection,
            arguments.join(", "),
            properties.join(" "),
        ))
    }
}

impl Collection {
    fn of(class: &Value) -> Self {
        let mut collection = Self { properties: Vec::new(), searchable: Vec::new(), vector: None };
        for property in class["properties"].as_array().into_iter().flatten() {
            let (Some(name), Some(kind)) = (property["name"].as_str(), property["dataType"][0].as_str())
            else {
                continue;
            };
            let element = kind.trim_end_matches("[]");
            if !PLAIN_TYPES.contains(&element) || !is_property(name) {
                continue;
            }
            if element == "text" && property["indexSearchable"] != false {
                collection.searchable.push(name.to_owned());
            }
            collection.properties.push((name.to_owned(), element.to_owned()));
        }
        let vectors = class["vectorConfig"].as_object().filter(|vectors| !vectors.is_empty());
        collection.vector = vectors.and_then(|vectors| {
            if vectors.contains_key("default") {
                Some("default".to_owned())
            } else {
                vectors.keys().next().cloned()
            }
        });
        collection
    }

    fn type_of(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, kind)| kind.as_str())
    }
}

/// A GraphQL string, which is escaped as in JSON.
fn text(plain: &str) -> String {
    Value::from(plain).to_string()
}

/// Translates a filter into GraphQL.
fn clause(filter: &Filter, collection: &Collection) -> Result<String, StoreError> {
    let joined = |word: &str, clauses: Vec<String>| match clauses.as_slice() {
        [only] => only.clone(),
        _ => format!("{{operator: {word}, operands: [{}]}}", clauses.join(", ")),
    };
    let all = |filters: &[Filter]| -> Result<Vec<String>, StoreError> {
        filters.iter().map(|filter| clause(filter, collection)).collect()
    };
    let (field, operator, value) = match filter {
        Filter::All(filters) => return Ok(joined("And", all(filters)?)),
        Filter::Any(filters) => return Ok(joined("Or", all(filters)?)),
        Filter::Neither(_) => return Err(no_not()),
        Filter::Field { field, operator, value } => (field, *operator, value),
    };
    let name = if field == "id" { ID } else { metadata_key(field) };
    if !is_property(name) {
        return Err(StoreError::filter(format!("`{field}` is not a valid name of a property")));
    }
    let one = |word: &str, value: &Value| -> String {
        let key = match (collection.type_of(name), value) {
            (Some("date"), _) => "valueDate",
            (Some("int"), _) => "valueInt",
            (Some("number"), _) => "valueNumber",
            (Some("boolean"), _) | (None, Value::Bool(_)) => "valueBoolean",
            (None, Value::Number(number)) if number.is_f64() => "valueNumber",
            (None, Value::Number(_)) => "valueInt",
            _ => "valueText",
        };
        format!("{{path: [{}], operator: {word}, {key}: {value}}}", text(name))
    };
    let is_null = |flag: bool| format!("{{path: [{}], operator: IsNull, valueBoolean: {flag}}}", text(name));
    Ok(match operator {
        Operator::Equal if value.is_null() => is_null(true),
        Operator::Equal => one("Equal", value),
        Operator::NotEqual => joined("Or", vec![one("NotEqual", value), is_null(true)]),
        Operator::Greater => one("GreaterThan", value),
        Operator::GreaterOrEqual => one("GreaterThanEqual", value),
        Operator::Less => one("LessThan", value),
        Operator::LessOrEqual => one("LessThanEqual", value),
        Operator::In | Operator::ContainsAny => one("ContainsAny", value),
        Operator::NotIn => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if items.is_empty() {
                return Err(StoreError::filter(format!(
                    "`not in` of `{field}`: the list of values cannot be empty"
                )));
            }
            joined("And", items.iter().map(|item| one("NotEqual", item)).collect())
        }
    })
}

#[async_trait]
impl VectorStore for Weaviate {
    async fn write(
        &self,
        call: Call<'_>,
        documents: Vec<Document>,
        columns: Columns<'_>,
    ) -> Result<usize, StoreError> {
        let collection = self.collection(call, self.create).await?;
        if let Some(tenant) = self.tenant.as_ref().filter(|_| self.create)
            && !self.has_tenant(call).await?
        {
            let path = format!("schema/{}/tenants", self.collection);
            self.api.json(call, Method::POST, &path, Some(&json!([{"name": tenant}]))).await?;
        }
        let objects = documents.into_iter().map(|document| self.object(document, columns, &collection));
        let objects = objects.collect::<Result<Vec<_>, _>>()?;
        for objects in objects.chunks(BATCH) {
            let body = json!({"objects": objects});
            let written = self.api.json(call, Method::POST, "batch/objects", Some(&body)).await?;
            let failed = written.as_array().into_iter().flatten().find_map(|object| {
                let why = object["result"]["errors"]["error"][0]["message"].as_str()?;
                Some((object["properties"][ID].as_str().unwrap_or_default(), why))
            });
            if let Some((id, why)) = failed {
                return Err(StoreError::store(format!("Weaviate did not write the document `{id}`: {why}")));
            }
        }
        Ok(objects.len())
    }

    async fn search(&self, call: Call<'_>, query: Query<'_>) -> Result<Vec<Document>, StoreError> {
        let collection = self.collection(call, false).await?;
        if !self.has_tenant(call).await? {
            return Ok(Vec::new());
        }
        let body = json!({"query": self.graphql(query, &collection)?});
        let answer = self.api.json(call, Method::POST, "graphql", Some(&body)).await?;
        if let Some(problem) = answer["errors"][0]["message"].as_str() {
            return Err(StoreError::store(format!("Weaviate refused the search: {problem}")));
        }
        let found = answer["data"]["Get"][&self.collection].as_array().cloned().unwrap_or_default();
        let content = query.columns.content.unwrap_or(&self.content);
        Ok(found.into_iter().map(|object| document(object, content)).collect())
    }

    /// Scores are certainties or fused scores: higher is better. A threshold above 1 is a cosine distance.
    fn passes(&self, score: f64, threshold: f64) -> bool {
        if threshold <= 1.0 { score >= threshold } else { 2.0 * (1.0 - score) <= threshold }
    }
}

fn document(object: Value, content: &str) -> Document {
    let Value::Object(mut properties) = object else { return Document::default() };
    let additional = properties.remove("_additional").unwrap_or_default();
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let score = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    let id = text(properties.remove(ID));
    let content = text(properties.remove(content)).unwrap_or_default();
    properties.remove("score");
    Document {
        id,
        content,
        score: score(&additional["score"]).or_else(|| score(&additional["certainty"])),
        metadata: Some(properties),
        embedding: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Weaviate {
        Weaviate {
            api: Api { store: "Weaviate", url: String::new(), headers: Vec::new(), silence: IDLE_TIMEOUT },
            collection: "Default".into(),
            content: "content".into(),
            tenant: Some("t\"1".into()),
            create: false,
        }
    }

    fn collection() -> Collection {
        let property = |name: &str, kind: &str| json!({"name": name, "dataType": [kind]});
        Collection::of(&json!({
            "properties": [
                property("content", "text"), property(ID, "text"), property("title", "text"),
                property("year", "int"), property("on", "date"), property("tags", "text[]"),
                property("of", "Other"), property("place", "geoCoordinates"),
            ],
            "vectorConfig": {"default": {}},
        }))
    }

    #[test]
    fn builds_searches() {
        let query = Query {
            vector: &[1.0, 0.5],
            words: None,
            alpha: 0.25,
            limit: 3,
            filter: None,
            threshold: None,
            max_distance: None,
            columns: Columns::default(),
        };
        assert_eq!(
            store().graphql(query, &collection()).expect("a search"),
            "{ Get { Default(limit: 3, tenant: \"t\\\"1\", nearVector: {vector: [1.0,0.5], targetVectors: [\"default\"]}) \
             { content _original_id title year on tags _additional { certainty } } } }"
        );
        let query = Query { words: Some("a \"b\""), max_distance: Some(0.4), ..query };
        let text = store().graphql(query, &collection()).expect("a search");
        let hybrid = "hybrid: {query: \"a \\\"b\\\"\", vector: [1.0,0.5], alpha: 0.25, fusionType: relativeScoreFusion, \
                      properties: [\"content\", \"title\"], maxVectorDistance: 0.4, targetVectors: [\"default\"]}";
        assert!(text.contains(hybrid) && text.contains("_additional { score }"), "{text}");
    }

    #[test]
    fn filters() {
        let field =
            |field, operator, value: Value| json!({"field": field, "operator": operator, "value": value});
        for (filter, expected) in [
            (json!({"year": 2020}), "{path: [\"year\"], operator: Equal, valueInt: 2020}"),
            (json!({"id": "a"}), "{path: [\"_original_id\"], operator: Equal, valueText: \"a\"}"),
            (json!({"title": null}), "{path: [\"title\"], operator: IsNull, valueBoolean: true}"),
            (
                field("metadata.on", ">=", json!("2024-01-01")),
                "{path: [\"on\"], operator: GreaterThanEqual, valueDate: \"2024-01-01\"}",
            ),
            (
                field("tags", "contains_any", json!(["x", "y"])),
                "{path: [\"tags\"], operator: ContainsAny, valueText: [\"x\",\"y\"]}",
            ),
            (
                field("title", "!=", json!("x")),
                "{operator: Or, operands: [{path: [\"title\"], operator: NotEqual, valueText: \"x\"}, \
                 {path: [\"title\"], operator: IsNull, valueBoolean: true}]}",
            ),
            (
                field("year", "not in", json!([1, 2])),
                "{operator: And, operands: [{path: [\"year\"], operator: NotEqual, valueInt: 1}, \
                 {path: [\"year\"], operator: NotEqual, valueInt: 2}]}",
            ),
        ] {
            let filter =
                Filter::read(filter.as_object().expect("a mapping")).expect("it reads").expect("one");
            assert_eq!(clause(&filter, &collection()), Ok(expected.to_owned()));
        }
        let injection =
            Filter::read(json!({"a\"]": 1}).as_object().expect("a mapping")).expect("it reads").expect("one");
        assert!(clause(&injection, &collection()).is_err());
    }

    #[test]
    fn names() {
        assert_eq!(collection_name("default1").as_deref(), Some("Default1"));
        assert_eq!(collection_name("my-index"), None);
        assert_eq!(collection_name(""), None);
        assert!(!is_property("a b") && is_property("_a1") && !is_property("1a") && !is_property(""));
    }
}
