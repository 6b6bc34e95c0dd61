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

use super::{Registered, admit::Admission, blocking};
use crate::{
    document::{Document, DocumentIds},
    flow::{Call, Halt, Kind, NodeError},
    job::{Job, Known, Ready},
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

pub(super) const JOBS: &[Known] = &[
    Known::of::<Split<auto::AutoSplitter>>(),
    Known::of::<Split<document::DocumentSplitter>>(),
    Known::of::<Split<html::HtmlSplitter>>(),
    Known::of::<Split<json::JsonSplitter>>(),
    Known::of::<Split<markdown::MarkdownSplitter>>(),
    Known::of::<Split<recursive::RecursiveSplitter>>(),
];

/// The most bytes of documents that are divided here. Some work grows with their square, as does what comes of metadata
/// that each part has.
const MOST_HERE: usize = 16 * 1024;

/// How many documents may come of one: each costs far more than its text.
const MOST_PARTS: usize = 100_000;

/// Divides one document.
trait Splitter: fmt::Debug + Send + Sync + 'static {
    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError>;

    /// Whether a document without metadata is given some, and shown with it.
    fn fills_metadata(&self) -> bool {
        false
    }

    /// Whether it tries regular expressions that somebody wrote, which may take any time.
    fn has_patterns(&self) -> bool {
        false
    }
}

/// A splitter whose work is a job.
trait Splits: Splitter + Serialize + DeserializeOwned {
    /// The name of the job.
    const JOB: &'static str;
}

/// The job of dividing documents.
#[derive(Serialize, Deserialize)]
#[serde(bound = "S: Splits")]
struct Split<S> {
    splitter: Arc<S>,
    ids: DocumentIds,
}

impl<S: Splits> Job for Split<S> {
    const NAME: &'static str = S::JOB;

    fn most_here(&self) -> usize {
        if self.splitter.has_patterns() { 0 } else { MOST_HERE }
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

/// The node around what divides one document.
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
        let (ready, documents) = if bytes > LITTLE {
            let ready = Ready::wait(call, job, bytes).await?;
            let input = Arc::clone(input);
            (ready, blocking(move || Ok(written(&input["documents"]))).await?)
        } else {
            let documents = written(&input["documents"]);
            (Ready::wait(call, job, documents.len()).await?, documents)
        };
        Ok(Arc::new(json!({"documents": ready.perform(documents).await?})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut admission = Admission::of(&input, "a splitter")?;
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

/// What is written as text at once.
const LITTLE: usize = 64 * 1024;

fn written(documents: &Value) -> Vec<u8> {
    documents.to_string().into_bytes()
}

/// The metadata of a document's parts: its own, and where they come from.
fn part_metadata(document: &Document) -> Map<String, Value> {
    let mut metadata = document.metadata.clone().unwrap_or_default();
    metadata.insert("source_id".into(), document.id.clone().into());
    metadata
}

/// Refuses a document of which too many would come.
fn few(parts: usize) -> Result<(), NodeError> {
    if parts <= MOST_PARTS {
        return Ok(());
    }
    Err(NodeError::limit_exceeded(format!("a document would be split into more than {MOST_PARTS} parts")))
}
