//! The store in memory: for small sets of documents that a process can build again.
//!
//! An index belongs to an app and has a name. It is lost when the process ends, and other processes do not see it: on
//! Lambda, or after a takeover, a run may find it empty.

use super::{
    Columns, Query, StoreError, VectorStore,
    filter::{Filter, Operator, metadata_key},
};
use crate::{document::Document, flow::Call, load::Fields, python_text};
use async_trait::async_trait;
use runyard_runs::AppId;
use serde_json::Value;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
    sync::{PoisonError, RwLock},
};

/// Limit on the indexes of all apps of a process, in bytes of text, words and vectors.
const MAX_BYTES: usize = 256 << 20;
/// An app may use at most `1 / SHARE_DIVISOR` of the memory that the other apps leave, so that there is always some for
/// another app.
const SHARE_DIVISOR: usize = 2;
/// Overhead of each distinct word of a text, in bytes.
const WORD_BYTES: usize = 64;
/// The parameters `k1` (saturation of a word's frequency) and `b` (weight of a text's length) of BM25.
const SATURATION: f64 = 1.2;
const LENGTH_WEIGHT: f64 = 0.75;
/// Added to ranks when two rankings are fused, as in [`super::pgvector`].
const RANK_CONSTANT: f64 = 60.0;

/// The indexes of a process.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    indexes: RwLock<Indexes>,
}

#[derive(Debug, Default)]
struct Indexes {
    /// By id, so that documents with equal scores always have the same order.
    documents: HashMap<(AppId, String), BTreeMap<String, Entry>>,
    /// The bytes of each app.
    bytes: HashMap<AppId, usize>,
    all: usize,
}

#[derive(Debug)]
struct Entry {
    document: Document,
    vector: Vec<f64>,
    /// The frequency of each word in the text.
    words: HashMap<String, u32>,
    length: u32,
}

/// The index that a node names.
#[derive(Debug)]
struct Index {
    name: String,
}

/// Reads the store of a node.
pub(crate) fn read(fields: Fields<'_>) -> Box<dyn VectorStore> {
    Box::new(Index { name: fields.text("index_name").unwrap_or("default").to_owned() })
}

#[async_trait]
impl VectorStore for Index {
    async fn write(
        &self,
        call: Call<'_>,
        documents: Vec<Document>,
        _: Columns<'_>,
    ) -> Result<usize, StoreError> {
        let entries = documents.into_iter().map(Entry::of).collect::<Result<Vec<_>, _>>()?;
        let count = entries.len();
        call.services.documents.write(&(call.run.new_run().app, self.name.clone()), entries)?;
        Ok(count)
    }

    async fn search(&self, call: Call<'_>, query: Query<'_>) -> Result<Vec<Document>, StoreError> {
        Ok(call.services.documents.search(&(call.run.new_run().app, self.name.clone()), query))
    }

    fn passes(&self, score: f64, threshold: f64) -> bool {
        score >= threshold
    }
}

impl Memory {
    fn write(&self, index: &(AppId, String), entries: Vec<(String, Entry)>) -> Result<(), StoreError> {
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        for (id, entry) in entries {
            let replaced = indexes.documents.get(index).and_then(|documents| documents.get(&id));
            let (added, freed) = (entry.bytes(), replaced.map_or(0, Entry::bytes));
            let before = indexes.bytes.get(&index.0).copied().unwrap_or(0);
            let bytes = before + added - freed;
            let max = (MAX_BYTES - (indexes.all - before)) / SHARE_DIVISOR;
            // A write that frees memory is always accepted.
            if bytes > max && added > freed {
                return Err(StoreError::limit_exceeded(format!(
                    "the documents of this app in memory would take {bytes} bytes, more than the limit of {max}: \
                     half of what other apps leave of {} MiB; keep fewer documents, or use another vector store",
                    MAX_BYTES >> 20
                )));
            }
            indexes.bytes.insert(index.0, bytes);
            indexes.all = indexes.all + added - freed;
            indexes.documents.entry(index.clone()).or_default().insert(id, entry);
        }
        Ok(())
    }

    fn search(&self, index: &(AppId, String), query: Query<'_>) -> Vec<Document> {
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(documents) = indexes.documents.get(index) else { return Vec::new() };
        let entries: Vec<&Entry> = documents
            .values()
            .filter(|entry| query.filter.is_none_or(|filter| holds(filter, &entry.document)))
            .collect();
        let limit = query.limit as usize;
        let scored = match query.words.filter(|_| query.alpha < 1.0) {
            None => best(similarities(&entries, query.vector), limit),
            Some(words) if query.alpha <= 0.0 => best(bm25(&entries, words), limit),
            Some(words) => {
                let rankings = [
                    (query.alpha, best(similarities(&entries, query.vector), entries.len())),
                    (1.0 - query.alpha, best(bm25(&entries, words), entries.len())),
                ];
                best(fuse(&rankings), limit)
            }
        };
        scored
            .into_iter()
            .map(|(position, score)| Document { score: Some(score), ..entries[position].document.clone() })
            .collect()
    }
}

impl Entry {
    fn of(mut document: Document) -> Result<(String, Self), StoreError> {
        let Some(id) = document.id.clone() else {
            return Err(StoreError::value("a document needs an `id` to be stored"));
        };
        let Some(vector) = document.embedding.take() else {
            return Err(StoreError::value(format!("the document `{id}` has no embedding")));
        };
        document.score = None;
        let mut words: HashMap<String, u32> = HashMap::new();
        let mut length = 0;
        for word in words_of(&document.content) {
            *words.entry(word).or_default() += 1;
            length += 1;
        }
        Ok((id, Self { document, vector, words, length }))
    }

    /// The approximate memory of an entry. The text counts twice: it is kept as such and as words.
    fn bytes(&self) -> usize {
        let metadata = self.document.metadata.as_ref();
        let metadata = metadata.map_or(0, |metadata| Value::from(metadata.clone()).to_string().len());
        2 * self.document.content.len()
            + metadata
            + 8 * self.vector.len()
            + WORD_BYTES * self.words.len()
            + 256
    }
}

/// Returns the best indexes and scores, the best first.
fn best(mut scored: Vec<(usize, f64)>, limit: usize) -> Vec<(usize, f64)> {
    scored.sort_by(|(_, left), (_, right)| right.partial_cmp(left).unwrap_or(Ordering::Equal));
    scored.truncate(limit);
    scored
}

/// The cosine similarity of each vector and the query; vectors of another length are omitted.
fn similarities(entries: &[&Entry], query: &[f64]) -> Vec<(usize, f64)> {
    let length = |vector: &[f64]| vector.iter().map(|number| number * number).sum::<f64>().sqrt();
    let query_length = length(query);
    let similarity = |entry: &Entry| {
        let product: f64 = entry.vector.iter().zip(query).map(|(left, right)| left * right).sum();
        let lengths = query_length * length(&entry.vector);
        if lengths > 0.0 { product / lengths } else { 0.0 }
    };
    let comparable = entries.iter().enumerate().filter(|(_, entry)| entry.vector.len() == query.len());
    comparable.map(|(index, entry)| (index, similarity(entry))).collect()
}

/// The Okapi BM25 score of each text; texts without any of the words are omitted.
fn bm25(entries: &[&Entry], query: &str) -> Vec<(usize, f64)> {
    let words: HashSet<String> = words_of(query).collect();
    let count = number(entries.len());
    let average = entries.iter().map(|entry| f64::from(entry.length)).sum::<f64>() / count.max(1.0);
    let mut scores = vec![0.0; entries.len()];
    // In a fixed order, because sums of floats depend on it.
    let mut words: Vec<String> = words.into_iter().collect();
    words.sort();
    for word in &words {
        let with = number(entries.iter().filter(|entry| entry.words.contains_key(word)).count());
        let weight = (1.0 + (count - with + 0.5) / (with + 0.5)).ln();
        for (score, entry) in scores.iter_mut().zip(entries) {
            let Some(times) = entry.words.get(word) else { continue };
            let times = f64::from(*times);
            let length = 1.0 - LENGTH_WEIGHT + LENGTH_WEIGHT * f64::from(entry.length) / average;
            *score += weight * times * (SATURATION + 1.0) / (times + SATURATION * length);
        }
    }
    scores.into_iter().enumerate().filter(|(_, score)| *score > 0.0).collect()
}

/// Fuses rankings by their ranks, because scores of different kinds of search cannot be added.
fn fuse(rankings: &[(f64, Vec<(usize, f64)>)]) -> Vec<(usize, f64)> {
    let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
    for (weight, ranking) in rankings {
        for (rank, (index, _)) in ranking.iter().enumerate() {
            *scores.entry(*index).or_default() += weight / (RANK_CONSTANT + number(rank + 1));
        }
    }
    scores.into_iter().collect()
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[expect(clippy::cast_precision_loss, reason = "counts of documents in memory are far below 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}

/// Whether a document matches a filter.
fn holds(filter: &Filter, document: &Document) -> bool {
    match filter {
        Filter::All(filters) => filters.iter().all(|filter| holds(filter, document)),
        Filter::Any(filters) => filters.iter().any(|filter| holds(filter, document)),
        Filter::Neither(filters) => !filters.iter().any(|filter| holds(filter, document)),
        Filter::Field { field, operator, value } => {
            let id = document.id.clone().map(Value::from);
            let content = Value::from(document.content.as_str());
            let found = match field.as_str() {
                "id" => id.as_ref(),
                "content" => Some(&content),
                _ => document.metadata.as_ref().and_then(|metadata| metadata.get(metadata_key(field))),
            };
            compare(*operator, found.filter(|found| !found.is_null()), value)
        }
    }
}

fn compare(operator: Operator, found: Option<&Value>, value: &Value) -> bool {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let is = |ordering: &[Ordering]| {
        found.and_then(|found| order(found, value)).is_some_and(|found| ordering.contains(&found))
    };
    match operator {
        Operator::Equal => match found {
            None => value.is_null(),
            Some(found) => crate::condition::equal(found, value),
        },
        Operator::NotEqual => found.is_none_or(|found| !crate::condition::equal(found, value)),
        Operator::Greater => is(&[Ordering::Greater]),
        Operator::GreaterOrEqual => is(&[Ordering::Greater, Ordering::Equal]),
        Operator::Less => is(&[Ordering::Less]),
        Operator::LessOrEqual => is(&[Ordering::Less, Ordering::Equal]),
        Operator::In => {
            found.is_some_and(|found| items.iter().any(|item| crate::condition::equal(found, item)))
        }
        Operator::NotIn => {
            found.is_none_or(|found| !items.iter().any(|item| crate::condition::equal(found, item)))
        }
        Operator::ContainsAny => {
            let wanted: Vec<String> = items.iter().map(python_text::str).collect();
            let list = found.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            list.iter().any(|item| wanted.contains(&python_text::str(item)))
        }
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::NodeError;
    use serde_json::json;
    use uuid::Uuid;

    fn index() -> (AppId, String) {
        (AppId(Uuid::from_u128(1)), "default".into())
    }

    fn filled() -> Memory {
        let memory = Memory::default();
        let documents = [
            ("a", "The quick brown fox", json!({"year": 2020, "tags": ["x", 5]}), [1.0, 0.0]),
            ("b", "A lazy dog sleeps", json!({"year": 2021, "on": "2021-05-01"}), [0.0, 1.0]),
            ("c", "The fox and the dog: fox, fox", json!({"kind": "tale"}), [0.8, 0.6]),
        ];
        for (id, content, metadata, vector) in documents {
            let document = json!({"id": id, "content": content, "metadata": metadata, "embedding": vector});
            let entry = Entry::of(Document::read(&document, 0).expect("a document")).expect("an entry");
            memory.write(&index(), vec![entry]).expect("there is room");
        }
        memory
    }

    fn found(memory: &Memory, words: Option<&str>, alpha: f64, filter: &Value) -> Vec<String> {
        let filter = Filter::read(filter.as_object().expect("a mapping")).expect("a filter");
        let query = Query {
            vector: &[1.0, 0.0],
            words,
            alpha,
            limit: 10,
            filter: filter.as_ref(),
            threshold: None,
            max_distance: None,
            columns: Columns::default(),
        };
        memory.search(&index(), query).into_iter().filter_map(|document| document.id).collect()
    }

    #[test]
    fn searches_by_vector_by_words_and_by_both() {
        let memory = filled();
        assert_eq!(found(&memory, None, 0.5, &json!({})), ["a", "c", "b"]);
        assert_eq!(found(&memory, Some("FOX!"), 0.0, &json!({})), ["c", "a"]);
        assert_eq!(found(&memory, Some("dog"), 0.0, &json!({})), ["b", "c"]);
        assert_eq!(found(&memory, Some("dog"), 0.1, &json!({})), ["b", "c", "a"]);
        assert_eq!(found(&memory, Some("dog"), 1.0, &json!({})), ["a", "c", "b"]);
    }

    #[test]
    fn filters() {
        let memory = filled();
        let field =
            |field, operator, value: Value| json!({"field": field, "operator": operator, "value": value});
        for (filter, expected) in [
            (json!({"year": 2020}), vec!["a"]),
            (json!({"year": [2020.0, 2021]}), vec!["a", "b"]),
            (json!({"year": null}), vec!["c"]),
            (json!({"id": "b"}), vec!["b"]),
            (field("metadata.year", "!=", json!(2020)), vec!["c", "b"]),
            (field("year", ">", json!(2020)), vec!["b"]),
            (field("on", "<=", json!("2021-05-01")), vec!["b"]),
            (field("year", "not in", json!([2020])), vec!["c", "b"]),
            (field("tags", "contains_any", json!(["5", "y"])), vec!["a"]),
            (
                json!({"operator": "OR", "conditions": [
                    field("kind", "==", json!("tale")), field("year", "<", json!(2021)),
                ]}),
                vec!["a", "c"],
            ),
        ] {
            assert_eq!(found(&memory, None, 0.5, &filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_document_with_the_same_id_replaces_the_first() {
        let memory = filled();
        let all = || memory.indexes.read().expect("indexes").all;
        let bytes = all();
        let entry = |content: &str| {
            let document = json!({"id": "a", "content": content, "metadata": {}, "embedding": [0.0, 1.0]});
            Entry::of(Document::read(&document, 0).expect("a document")).expect("an entry")
        };
        memory.write(&index(), vec![entry("new")]).expect("there is room");
        assert_eq!(found(&memory, Some("quick"), 0.0, &json!({})), Vec::<String>::new());
        assert_eq!(found(&memory, Some("new"), 0.0, &json!({})), ["a"]);
        assert!(all() < bytes);
        let refused = memory.write(&index(), vec![entry(&"x".repeat(MAX_BYTES / 4))]);
        let error = NodeError::from(refused.expect_err("it is too much for one app"));
        assert_eq!(error.code(), "limit_exceeded");
        assert!(error.to_json()["message"].as_str().expect("a message").contains("256 MiB"));
        assert_eq!(found(&memory, Some("new"), 0.0, &json!({})), ["a"]);
    }

    #[test]
    fn leaves_memory_for_another_app() {
        let memory = Memory::default();
        let write = |app: u128, id: usize, bytes: usize| {
            let content = "x".repeat(bytes);
            let document = json!({"id": id.to_string(), "content": content, "embedding": [1.0]});
            let entry = Entry::of(Document::read(&document, 0).expect("a document")).expect("an entry");
            memory.write(&(AppId(Uuid::from_u128(app)), "default".into()), vec![entry])
        };
        let mut kept = Vec::new();
        for app in 1..=6 {
            // Writes as much as possible, down to the last kilobyte.
            let mut count = 0;
            for bytes in [4_000_000, 400_000, 40_000, 4_000, 400] {
                while write(app, count, bytes).is_ok() {
                    count += 1;
                }
            }
            kept.push(memory.indexes.read().expect("indexes").bytes[&AppId(Uuid::from_u128(app))]);
        }
        for (app, kept) in kept.iter().enumerate() {
            let share = (MAX_BYTES >> app) / SHARE_DIVISOR;
            assert!(*kept <= share + share / 10 && *kept > share / 2, "app {app} keeps {kept} of {share}");
        }
        assert!(write(7, 0, 100_000).is_ok());
        assert!(write(1, 0, 10).is_ok(), "a write that frees memory is always accepted");
    }
}
