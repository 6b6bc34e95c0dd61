//! Documents: what converters make, splitters divide, embedders add vectors to and stores keep.

use crate::{
    flow::{Call, NodeError},
    python_text,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// A text with its metadata. As JSON `{id, content, metadata, score, embedding}`, where absent values are null.
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

    /// Reads the item at `index` of a list that was passed to a node; the error says what is wrong with it.
    pub(crate) fn read(value: &Value, index: usize) -> Result<Self, String> {
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
            None => Some(id_of(value, index)),
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

    /// Reads a list of documents. The error is that of an input that does not match its schema.
    pub(crate) fn read_list(value: Option<&Value>) -> Result<Vec<Self>, NodeError> {
        let invalid = |problem: String| NodeError::new("ValidationError", problem);
        let Some(Value::Array(items)) = value else {
            return Err(invalid("`documents` of the input must be a list of documents".into()));
        };
        let read = |(index, item)| {
            Self::read(item, index).map_err(|problem| invalid(format!("`documents[{index}]`: {problem}")))
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

    /// Returns a list of documents as JSON.
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

/// The id of a document that was passed without one. It depends only on what was passed, so a replay computes the same
/// id.
fn id_of(value: &Value, index: usize) -> String {
    let name = format!("{index}:{value}");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).simple().to_string()
}

/// Generates the ids of the documents that a node makes: 32 hexadecimal digits that depend only on the run, the node
/// and the document's index, so a replay generates the same ids.
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

    /// Returns a generator for a job, which continues at this one's position. Afterwards call [`Self::catch_up`].
    pub(crate) fn for_job(&self) -> Self {
        Self { run: self.run, key: self.key.clone(), given: self.given().into() }
    }

    /// How many ids were generated.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Skips the ids that a job generated: the first `given`.
    pub(crate) fn catch_up(&self, given: u64) {
        self.given.fetch_max(given, Ordering::Relaxed);
    }

    pub(crate) fn next(&self) -> String {
        let index = self.given.fetch_add(1, Ordering::Relaxed);
        let name = format!("document:{}:{index}", self.key);
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
    fn an_id_depends_on_index_and_content() {
        let id = |content: &str, index| Document::read(&json!({"content": content}), index).expect("it").id;
        assert_eq!(id("a", 0), id("a", 0));
        assert_ne!(id("a", 0), id("a", 1));
        assert_ne!(id("a", 0), id("b", 0));
    }

    #[test]
    fn refuses_values_that_are_not_documents() {
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
