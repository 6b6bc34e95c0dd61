//! Splitters: nodes that divide documents into smaller ones.

mod auto;
mod chunks;
mod code;
mod document;
mod html;
mod json;
mod language;
mod markdown;
mod recursive;

use super::{Registered, admit::InputCheck, blocking};
use crate::{
    document::{Document, DocumentIds},
    flow::{Call, Halt, Kind, NodeError},
    job::{Job, Ready, RegisteredJob},
    measure::OutputSize,
};
use async_trait::async_trait;
use runyard_runs::Size;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc};

pub(super) const NODES: &[&Registered] = &[
    &auto::AUTO_SPLITTER,
    &code::CODE_SPLITTER,
    &document::DOCUMENT_SPLITTER,
    &html::HTML_HEADER_SPLITTER,
    &html::HTML_SECTION_SPLITTER,
    &json::RECURSIVE_JSON_SPLITTER,
    &markdown::MARKDOWN_HEADER_SPLITTER,
    &recursive::RECURSIVE_CHARACTER_SPLITTER,
];

pub(super) const JOBS: &[RegisteredJob] = &[
    RegisteredJob::of::<Split<auto::AutoSplitter>>(),
    RegisteredJob::of::<Split<document::DocumentSplitter>>(),
    RegisteredJob::of::<Split<html::HtmlSplitter>>(),
    RegisteredJob::of::<Split<json::JsonSplitter>>(),
    RegisteredJob::of::<Split<markdown::MarkdownSplitter>>(),
    RegisteredJob::of::<Split<recursive::RecursiveSplitter>>(),
];

/// Limit on the documents that are divided in this process, in bytes. Some work is quadratic in their size, as is the
/// metadata that is repeated in each part.
const MAX_INLINE_BYTES: usize = 16 * 1024;

/// Limit on the parts of a document: each takes far more memory than its text.
const MAX_PARTS: usize = 100_000;

/// Divides one document.
trait Splitter: fmt::Debug + Send + Sync + 'static {
    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError>;

    /// Whether the node's input shows an empty mapping for a document without metadata.
    fn fills_metadata(&self) -> bool {
        false
    }

    /// Whether it has regular expressions of the workflow file, which may take any time.
    fn has_patterns(&self) -> bool {
        false
    }
}

/// A splitter that runs in a job.
trait Splits: Splitter + Serialize + DeserializeOwned {
    /// The name of the job.
    const JOB: &'static str;
}

/// The job that divides documents.
#[derive(Serialize, Deserialize)]
#[serde(bound = "S: Splits")]
struct Split<S> {
    splitter: Arc<S>,
    ids: DocumentIds,
}

impl<S: Splits> Job for Split<S> {
    const NAME: &'static str = S::JOB;

    fn most_here(&self) -> usize {
        if self.splitter.has_patterns() { 0 } else { MAX_INLINE_BYTES }
    }

    fn perform(self, documents: Vec<u8>) -> Result<Value, NodeError> {
        let documents: Value = serde_json::from_slice(&documents).map_err(|error| {
            NodeError::new("ValueError", format!("the documents cannot be read: {error}"))
        })?;
        let mut size = OutputSize::default();
        let mut parts = Vec::new();
        for document in Document::read_list(Some(&documents))? {
            for part in self.splitter.split(&document, &self.ids)? {
                let part = part.into_json();
                size.add(&part)?;
                parts.push(part);
            }
        }
        Ok(parts.into())
    }
}

/// The node of a splitter.
#[derive(Debug)]
struct Splitting<S>(Arc<S>);

impl<S: Splits> Splitting<S> {
    fn boxed(splitter: S) -> Box<dyn Kind> {
        Box::new(Self(Arc::new(splitter)))
    }
}

#[async_trait]
impl<S: Splits> Kind for Splitting<S> {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let job = Split { splitter: Arc::clone(&self.0), ids: DocumentIds::new(call) };
        let bytes = Size::of(&input["documents"]).bytes;
        let (ready, documents) = if bytes > MAX_SMALL_BYTES {
            let ready = Ready::wait(call, job, bytes).await?;
            let input = Arc::clone(input);
            (ready, blocking(move || Ok(serialize(&input["documents"]))).await?)
        } else {
            let documents = serialize(&input["documents"]);
            (Ready::wait(call, job, documents.len()).await?, documents)
        };
        Ok(Arc::new(json!({"documents": ready.perform(documents).await?})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = InputCheck::of(&input, "a splitter")?;
        let mut documents = Document::read_list(admission.given("documents"))?;
        if self.0.fills_metadata() {
            for document in &mut documents {
                document.metadata.get_or_insert_default();
            }
        }
        admission.set("documents", Document::list(documents));
        Ok(admission.done())
    }
}

/// Documents up to this size, in bytes, are serialized without a blocking task.
const MAX_SMALL_BYTES: usize = 64 * 1024;

fn serialize(documents: &Value) -> Vec<u8> {
    documents.to_string().into_bytes()
}

/// The metadata of a document's parts: the document's own, and its id as `source_id`.
fn part_metadata(document: &Document) -> Map<String, Value> {
    let mut metadata = document.metadata.clone().unwrap_or_default();
    metadata.insert("source_id".into(), document.id.clone().into());
    metadata
}

/// Refuses a document of too many parts.
fn check_part_count(parts: usize) -> Result<(), NodeError> {
    if parts <= MAX_PARTS {
        return Ok(());
    }
    Err(NodeError::limit_exceeded(format!("a document would be split into more than {MAX_PARTS} parts")))
}
