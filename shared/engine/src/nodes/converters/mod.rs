//! Converters: nodes that convert files to documents.

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
    admit::{InputCheck, MAPPING_OR_LIST, TEXT, TEXTS, invalid},
    extractors::{FileType, detect, extension},
    files::{Content, FILES, Files},
};
use crate::{
    document::{Document, DocumentIds},
    flow::{Call, Halt, Kind, NodeError},
    job::{Job, Ready, RegisteredJob},
    measure::OutputSize,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
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

pub(super) const JOBS: &[RegisteredJob] = &[
    RegisteredJob::of::<csv::ConvertCsv>(),
    RegisteredJob::of::<Convert<docx::DocxConverter>>(),
    RegisteredJob::of::<Convert<excel::ExcelConverter>>(),
    RegisteredJob::of::<Convert<html::HtmlConverter>>(),
    RegisteredJob::of::<Convert<pdf::PdfConverter>>(),
    RegisteredJob::of::<Convert<pptx::PptxConverter>>(),
    RegisteredJob::of::<Convert<text::TextConverter>>(),
];

/// The default timeout of a converter.
const TIMEOUT: Option<Duration> = Some(Duration::from_mins(1));

/// Limit on the text of a file, in bytes.
const MAX_TEXT_BYTES: usize = 32 * 1024 * 1024;

/// A file to convert.
struct InputFile {
    name: String,
    bytes: Vec<u8>,
    metadata: Map<String, Value>,
}

/// Converts a file to documents.
trait Converter: fmt::Debug + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name of the job.
    const JOB: &'static str;

    /// See [`Job::most_here`].
    const MAX_INLINE_BYTES: usize = 0;

    fn convert(&self, file: InputFile, ids: &DocumentIds) -> Result<Vec<Document>, NodeError>;
}

/// The job that converts a file.
#[derive(Serialize, Deserialize)]
#[serde(bound = "C: Converter")]
struct Convert<C> {
    converter: C,
    name: Option<String>,
    metadata: Map<String, Value>,
    ids: DocumentIds,
}

impl<C: Converter> Job for Convert<C> {
    const NAME: &'static str = C::JOB;

    fn most_here(&self) -> usize {
        C::MAX_INLINE_BYTES
    }

    fn perform(self, bytes: Vec<u8>) -> Result<Value, NodeError> {
        let Self { converter, name, metadata, ids } = self;
        let name = named(name, &bytes, &ids)?;
        let documents = converter.convert(InputFile { name, bytes, metadata }, &ids)?;
        Ok(json!({"documents": Document::list(documents), "ids": ids.given()}))
    }
}

/// The name of a file. If it has none, the name is made of an id and the extension for its content.
fn named(name: Option<String>, bytes: &[u8], ids: &DocumentIds) -> Result<String, NodeError> {
    name.or_else(|| Some(format!("{}.{}", ids.next(), extension(bytes)?))).ok_or_else(|| {
        NodeError::new("ValueError", "the type of a file without a name is unknown: set its `name`")
    })
}

/// The node of a converter.
#[derive(Debug)]
struct Converting<C>(C);

impl<C: Converter> Converting<C> {
    fn boxed(converter: C) -> Box<dyn Kind> {
        Box::new(Self(converter))
    }
}

#[async_trait]
impl<C: Converter> Kind for Converting<C> {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let ids = DocumentIds::new(call);
        let mut made = ConvertedDocuments::default();
        for source in Sources::of(call, input)? {
            let source = source?;
            let job = Convert {
                converter: self.0.clone(),
                name: source.name(call),
                metadata: source.metadata(),
                ids: ids.for_job(),
            };
            let ready = Ready::wait(call, job, source.size(call)).await?;
            let mut output = ready.perform(source.content(call).await?.bytes).await?;
            ids.catch_up(output["ids"].as_u64().unwrap_or_default());
            made.add(output["documents"].take())?;
        }
        made.output()
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        sources::admit(&input)
    }
}

/// The documents that a node has made so far, and their size.
#[derive(Default)]
struct ConvertedDocuments {
    documents: Vec<Value>,
    size: OutputSize,
}

impl ConvertedDocuments {
    /// Adds documents; fails if all of them exceed the limits of an output.
    fn add(&mut self, documents: Value) -> Result<(), NodeError> {
        self.size.add(&documents)?;
        if let Value::Array(mut documents) = documents {
            self.documents.append(&mut documents);
        }
        Ok(())
    }

    fn output(self) -> Result<Arc<Value>, Halt> {
        if self.documents.is_empty() {
            return Err(NodeError::new("ValueError", "the files result in no documents").into());
        }
        Ok(Arc::new(json!({"documents": self.documents})))
    }
}

/// Refuses a file with too much text.
fn check_text_size(text: usize) -> Result<(), NodeError> {
    if text <= MAX_TEXT_BYTES {
        return Ok(());
    }
    let max = MAX_TEXT_BYTES >> 20;
    Err(NodeError::limit_exceeded(format!("the file has more than {max} MiB of text")))
}

/// Adds the file's path to metadata without one, and removes an empty `source`.
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

/// Makes unique labels of columns, none of them empty.
fn column_labels(header: &[String], width: usize) -> Vec<String> {
    let base: Vec<String> = (0..width)
        .map(|index| match header.get(index).map(|label| label.trim()) {
            Some(label) if !label.is_empty() => label.to_owned(),
            _ => format!("column_{}", index + 1),
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

/// The labels of a table's columns, for its rows in order.
struct Labels<'h> {
    header: &'h [String],
    /// At least as many as the widest row so far needs.
    labels: Vec<String>,
}

impl<'h> Labels<'h> {
    fn new(header: &'h [String]) -> Self {
        Self { header, labels: Vec::new() }
    }

    /// Returns the cells of a row that are not blank, each after its column's label; `None` if all are blank.
    fn row(&mut self, row: &[String]) -> Result<Option<String>, NodeError> {
        let width = self.header.len().max(row.len());
        // Labels of further columns do not change earlier ones, which are names from the header or `column_` with a
        // number.
        if self.labels.len() < width {
            self.labels = column_labels(self.header, width.next_power_of_two());
        }
        let mut text = String::new();
        for (label, cell) in self.labels.iter().zip(row).filter(|(_, cell)| !cell.trim().is_empty()) {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(label);
            text.push_str(": ");
            text.push_str(cell);
            check_text_size(text.len())?;
        }
        Ok((!text.is_empty()).then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_labels_unique() {
        let header = ["a", "", "a", "a_2", "a"].map(str::to_owned);
        assert_eq!(column_labels(&header, 6), ["a", "column_2", "a_3", "a_2", "a_4", "column_6"]);
    }

    #[test]
    fn keeps_a_path_in_the_metadata() {
        let metadata = json!({"file_path": "own", "source": ""}).as_object().cloned().expect("a mapping");
        assert_eq!(Value::from(with_path(metadata, "a.txt")), json!({"file_path": "own"}));
        assert_eq!(Value::from(with_path(Map::new(), "a.txt")), json!({"file_path": "a.txt"}));
    }
}
