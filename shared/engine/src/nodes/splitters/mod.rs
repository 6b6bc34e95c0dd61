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
};
use async_trait::async_trait;
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

/// How many documents may come of one: each costs far more than its text.
const MOST_PARTS: usize = 100_000;

/// Divides one document.
trait Splitter: fmt::Debug + Send + Sync + 'static {
    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError>;

    /// Whether a document without metadata is given some, and shown with it.
    fn fills_metadata(&self) -> bool {
        false
    }
}

/// The node around what divides one document.
#[derive(Debug)]
struct Splitting<S>(Arc<S>);

impl<S: Splitter> Splitting<S> {
    fn boxed(splitter: S) -> Box<dyn Kind> {
        Box::new(Self(Arc::new(splitter)))
    }
}

#[async_trait]
impl<S: Splitter> Kind for Splitting<S> {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let (splitter, ids, input) = (Arc::clone(&self.0), DocumentIds::new(call), Arc::clone(input));
        let documents = blocking(move || {
            let mut parts = Vec::new();
            for document in Document::read_list(input.get("documents"))? {
                parts.extend(splitter.split(&document, &ids)?);
            }
            Ok(Document::list(parts))
        });
        Ok(Arc::new(json!({"documents": documents.await?})))
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
    Err(NodeError::new("ValueError", format!("a document would be split into more than {MOST_PARTS}"))
        .lasting())
}
