//! Documents: what converters make, splitters divide, embedders give vectors and stores keep.

use crate::{
    flow::{Call, NodeError},
    python_text,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// A text with what is known of it. As JSON `{id, content, metadata, score, embedding}`, where what is absent is null.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Document {
    pub(crate) id: Option<String>,
    pub(crate) content: String,
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) score: Option<f64>,
    pub(crate) embedding: Option<Vec<f64>>,
}

impl Document {
    pub(crate) fn new(id: String, content: String, metadata: Map<String, Value>) -> Self {
        Self { id: Some(id), content, metadata: Some(metadata), ..Self::default() }
    }

    /// Reads what a node was given at `place` of a list; the error says what is wrong with it.
    pub(crate) fn read(value: &Value, place: usize) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return Err(format!(
                "a document must be a mapping, but this is {}",
                python_text::type_name(value)
            ));
        };
        let get = |key: &str| map.get(key).filter(|value| !value.is_null());
        let wrong = |key: &str, expected: &str| Err(format!("a document's `{key}` must be {expected}"));
        let id = match map.get("id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Null) => None,
            Some(_) => return wrong("id", "text"),
            None => Some(id_of(value, place)),
        };
        let Some(Value::String(content)) = get("content") else { return wrong("content", "text") };
        let metadata = match get("metadata") {
            Some(Value::Object(metadata)) => Some(metadata.clone()),
            Some(_) => return wrong("metadata", "a mapping"),
            None => None,
        };
        let score = match get("score") {
            Some(score) => match number(score) {
                Some(score) => Some(score),
                None => return wrong("score", "a number"),
            },
            None => None,
        };
        let embedding = match get("embedding") {
            Some(Value::Array(vector)) => match vector.iter().map(Value::as_f64).collect() {
                Some(vector) => Some(vector),
                None => return wrong("embedding", "a list of numbers"),
            },
            Some(_) => return wrong("embedding", "a list of numbers"),
            None => None,
        };
        Ok(Self { id, content: content.clone(), metadata, score, embedding })
    }

    /// Reads a list of them. The error is that of an input that does not fit its schema.
    pub(crate) fn read_list(value: Option<&Value>) -> Result<Vec<Self>, NodeError> {
        let invalid = |problem: String| NodeError::new("ValidationError", problem);
        let Some(Value::Array(items)) = value else {
            return Err(invalid("`documents` of the input must be a list of documents".into()));
        };
        let read = |(place, item)| {
            Self::read(item, place).map_err(|problem| invalid(format!("`documents[{place}]`: {problem}")))
        };
        items.iter().enumerate().map(read).collect()
    }

    pub(crate) fn into_json(self) -> Value {
        let mut map = Map::new();
        map.insert("id".into(), self.id.into());
        map.insert("content".into(), self.content.into());
        map.insert("metadata".into(), self.metadata.into());
        map.insert("score".into(), self.score.into());
        map.insert("embedding".into(), self.embedding.into());
        Value::Object(map)
    }

    /// The value of a list of them.
    pub(crate) fn list(documents: Vec<Self>) -> Value {
        documents.into_iter().map(Self::into_json).collect()
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Bool(flag) => Number::from(u8::from(*flag)).as_f64(),
        _ => None,
    }
}

/// The id of a document that was given without one. It follows from what was given, so a replay finds the same.
fn id_of(value: &Value, place: usize) -> String {
    let name = format!("{place}:{value}");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).simple().to_string()
}

/// Gives the documents that a node makes their ids: 32 hexadecimal digits that follow from the run, the node and the
/// place, so a replay gives the same.
#[derive(Serialize, Deserialize)]
pub(crate) struct DocumentIds {
    run: Uuid,
    key: String,
    given: AtomicU64,
}

impl DocumentIds {
    pub(crate) fn new(call: Call<'_>) -> Self {
        Self { run: call.run.new_run().id.0, key: call.key.to_owned(), given: AtomicU64::new(0) }
    }

    /// The same for a job, which goes on where this one is, and must be [`caught up`](Self::catch_up) with.
    pub(crate) fn for_job(&self) -> Self {
        Self { run: self.run, key: self.key.clone(), given: self.given().into() }
    }

    /// How many were given.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Gives none of those that a job gave.
    pub(crate) fn catch_up(&self, given: u64) {
        self.given.fetch_max(given, Ordering::Relaxed);
    }

    pub(crate) fn next(&self) -> String {
        let place = self.given.fetch_add(1, Ordering::Relaxed);
        let name = format!("document:{}:{place}", self.key);
        Uuid::new_v5(&self.run, name.as_bytes()).simple().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_it_writes() {
        let whole = json!({
            "id": "a", "content": "text", "metadata": {"k": [1]}, "score": 0.5, "embedding": [1.0, 2.5],
        });
        assert_eq!(Document::read(&whole, 0).expect("a document").into_json(), whole);
        let anonymous =
            json!({"id": null, "content": "", "metadata": null, "score": null, "embedding": null});
        assert_eq!(Document::read(&anonymous, 0).expect("a document").into_json(), anonymous);
    }

    #[test]
    fn an_id_follows_from_place_and_content() {
        let id = |content: &str, place| Document::read(&json!({"content": content}), place).expect("it").id;
        assert_eq!(id("a", 0), id("a", 0));
        assert_ne!(id("a", 0), id("a", 1));
        assert_ne!(id("a", 0), id("b", 0));
    }

    #[test]
    fn says_what_is_wrong() {
        for (value, problem) in [
            (json!("text"), "a document must be a mapping, but this is str"),
            (json!({}), "a document's `content` must be text"),
            (json!({"content": "", "metadata": []}), "a document's `metadata` must be a mapping"),
            (json!({"content": "", "score": "high"}), "a document's `score` must be a number"),
            (
                json!({"content": "", "embedding": ["a"]}),
                "a document's `embedding` must be a list of numbers",
            ),
            (json!({"content": "", "id": 5}), "a document's `id` must be text"),
        ] {
            assert_eq!(Document::read(&value, 0), Err(problem.to_owned()));
        }
    }
}
