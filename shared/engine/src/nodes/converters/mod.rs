//! Converters: nodes that make documents of files.

mod archive;
mod csv;
mod docx;
mod excel;
mod html;
mod multi;
mod pdf;
mod pptx;
mod sheets;
mod sources;
mod text;
mod unstructured;
mod xml;

use super::{
    Registered,
    admit::{Admission, MAPPING_OR_LIST, TEXT, TEXTS, invalid},
    blocking,
    extractors::{FileType, detect, extension},
    files::{Content, FILES, Files},
};
use crate::{
    document::{Document, DocumentIds},
    flow::{Call, Halt, Kind, NodeError},
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sources::Sources;
use std::{fmt, sync::Arc, time::Duration};

pub(in crate::nodes) use sheets::{Cell, Sheet, read as read_sheets};

pub(super) const NODES: &[&Registered] = &[
    &csv::CSV_CONVERTER,
    &docx::DOCX_CONVERTER,
    &excel::EXCEL_CONVERTER,
    &html::HTML_CONVERTER,
    &multi::MULTI_CONVERTER,
    &pdf::PDF_CONVERTER,
    &pptx::PPTX_CONVERTER,
    &text::TEXT_CONVERTER,
    &unstructured::UNSTRUCTURED_CONVERTER,
];

/// How long one may take.
const TIMEOUT: Option<Duration> = Some(Duration::from_mins(1));

/// How much text may come of the files of one node, in bytes.
const MOST_TEXT: usize = 64 * 1024 * 1024;

/// A file to convert.
struct Given {
    name: String,
    bytes: Vec<u8>,
    metadata: Map<String, Value>,
}

/// Makes documents of one file.
trait Converter: fmt::Debug + Send + Sync + 'static {
    fn convert(&self, file: Given, ids: &DocumentIds) -> Result<Vec<Document>, NodeError>;
}

/// The node around what converts one file.
#[derive(Debug)]
struct Converting<C>(Arc<C>);

impl<C: Converter> Converting<C> {
    fn boxed(converter: C) -> Box<dyn Kind> {
        Box::new(Self(Arc::new(converter)))
    }
}

#[async_trait]
impl<C: Converter> Kind for Converting<C> {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let ids = Arc::new(DocumentIds::new(call));
        let mut documents = Vec::new();
        let mut text = 0;
        for source in Sources::of(call, input)?.list {
            let given = source.read(call, &ids).await?;
            let (converter, ids) = (Arc::clone(&self.0), Arc::clone(&ids));
            let made = blocking(move || converter.convert(given, &ids)).await?;
            text += made.iter().map(|document| document.content.len()).sum::<usize>();
            little(text)?;
            documents.extend(made);
        }
        if documents.is_empty() {
            return Err(NodeError::new("ValueError", "no documents came of the files").into());
        }
        Ok(Arc::new(json!({"documents": Document::list(documents)})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        sources::admit(&input)
    }
}

/// Refuses to make too much of files.
fn little(text: usize) -> Result<(), NodeError> {
    if text <= MOST_TEXT {
        return Ok(());
    }
    let problem = format!("the files have more than {} MiB of text", MOST_TEXT >> 20);
    Err(NodeError::new("ValueError", problem).lasting())
}

/// Metadata with the file's path, unless it has one of its own; `source` stays only if it says something.
fn with_path(mut metadata: Map<String, Value>, path: &str) -> Map<String, Value> {
    let is_empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if is_empty(metadata.get("file_path")) {
        metadata.insert("file_path".into(), path.into());
    }
    if is_empty(metadata.get("source")) {
        metadata.shift_remove("source");
    }
    metadata
}

/// Labels of columns: none empty, and none twice.
fn column_labels(header: &[String], width: usize) -> Vec<String> {
    let base: Vec<String> = (0..width)
        .map(|place| match header.get(place).map(|label| label.trim()) {
            Some(label) if !label.is_empty() => label.to_owned(),
            _ => format!("column_{}", place + 1),
        })
        .collect();
    let mut labels: Vec<String> = Vec::with_capacity(width);
    let mut used: std::collections::HashSet<String> = std::collections::HashSet::new();
    let reserved: std::collections::HashSet<&str> = base.iter().map(String::as_str).collect();
    let mut suffixes: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for label in &base {
        let mut unique = label.clone();
        if used.contains(label) {
            let suffix = suffixes.entry(label).or_insert(2);
            unique = format!("{label}_{suffix}");
            while used.contains(&unique) || reserved.contains(unique.as_str()) {
                *suffix += 1;
                unique = format!("{label}_{suffix}");
            }
            *suffix += 1;
        }
        used.insert(unique.clone());
        labels.push(unique);
    }
    labels
}

/// The cells of a row that say something, each after its column's label; nothing if none does.
fn labeled(header: &[String], row: &[String]) -> Option<String> {
    let labels = column_labels(header, header.len().max(row.len()));
    let fields = labels.iter().zip(row).filter(|(_, cell)| !cell.trim().is_empty());
    let lines: Vec<String> = fields.map(|(label, cell)| format!("{label}: {cell}")).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique() {
        let header = ["a", "", "a", "a_2", "a"].map(str::to_owned);
        assert_eq!(column_labels(&header, 6), ["a", "column_2", "a_3", "a_2", "a_4", "column_6"]);
    }

    #[test]
    fn a_path_that_is_given_stays() {
        let metadata = json!({"file_path": "own", "source": ""}).as_object().cloned().expect("a mapping");
        assert_eq!(Value::from(with_path(metadata, "a.txt")), json!({"file_path": "own"}));
        assert_eq!(Value::from(with_path(Map::new(), "a.txt")), json!({"file_path": "a.txt"}));
    }
}
