//! `CSVConverter`: makes a document of each row of CSV files, or of each file. These documents have no ids.

use super::{
    ConvertedDocuments, InputCheck, Labels, MAPPING_OR_LIST, Registered, Sources, TEXT, TEXTS,
    check_text_size, sources, with_path,
};
use crate::{
    csv::{self, Rows},
    flow::{Call, Halt, Kind, LIMIT_EXCEEDED, NodeError},
    job::{Job, Ready},
    load::Fields,
    nodes::admit::Check,
};
use async_trait::async_trait;
use runyard_runs::MAX_OUTPUT_VALUES;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::HashMap, sync::Arc};

pub(super) const CSV_CONVERTER: Registered = Registered {
    class: "converters.CSVConverter",
    name: Some("csv-file-converter"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(CsvConverter::read(fields))),
};

/// The names of the modes, and whether a whole file becomes one document.
const MODES: &[(&str, bool)] = &[("one-doc-per-row", false), ("one-doc-per-file", true)];

const MODE: Check = Check::new("one-doc-per-row or one-doc-per-file", |value| {
    MODES.iter().any(|(name, _)| value == name).then(|| value.clone())
});

/// The content of a document, and its metadata.
type Row = (String, Map<String, Value>);

/// The number of values in a document without metadata.
const MIN_DOCUMENT_VALUES: usize = 5;

/// Limit on a file that is converted in this process, in bytes. In the worst case, a header that takes half of it and a
/// row for every two bytes of the rest, the result has 64 MiB.
const MAX_INLINE_BYTES: usize = 16 * 1024;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CsvConverter {
    delimiter: String,
    content_column: Option<String>,
    metadata_columns: Vec<String>,
    by_file: bool,
}

impl CsvConverter {
    fn read(fields: Fields<'_>) -> Self {
        let columns = fields.list("metadata_columns").unwrap_or_default();
        Self {
            delimiter: fields.text("delimiter").unwrap_or(",").to_owned(),
            content_column: fields.text("content_column").map(str::to_owned),
            metadata_columns: columns.iter().filter_map(|column| column.text().map(str::to_owned)).collect(),
            by_file: fields.choice("document_creation_mode", MODES).unwrap_or(false),
        }
    }

    /// The same settings, with those of the input instead where it has some.
    fn with(&self, input: &Value) -> Self {
        let text = |key: &str| input[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let columns = input["metadata_columns"].as_array().filter(|columns| !columns.is_empty());
        let columns =
            columns.map(|columns| columns.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        let mode = MODES.iter().find(|(name, _)| input["document_creation_mode"] == *name);
        Self {
            delimiter: text("delimiter").unwrap_or_else(|| self.delimiter.clone()),
            content_column: text("content_column").or_else(|| self.content_column.clone()),
            metadata_columns: columns.unwrap_or_else(|| self.metadata_columns.clone()),
            by_file: mode.map_or(self.by_file, |(_, by_file)| *by_file),
        }
    }

    /// Returns content and metadata of each document of a file.
    fn convert(&self, name: &str, bytes: &[u8], metadata: Map<String, Value>) -> Result<Vec<Row>, NodeError> {
        let delimiter = csv::delimiter(&self.delimiter).map_err(|error| invalid_csv("TypeError", error))?;
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}');
        let metadata = with_path(metadata, name);
        if self.by_file {
            return Ok(whole(name, text, delimiter, metadata).into_iter().collect());
        }
        let mut rows = Rows::of_file(text, delimiter, true);
        let Some(header) = rows.next() else { return Ok(Vec::new()) };
        let header = header.map_err(|error| invalid_csv("Error", error))?;
        let mut documents = Vec::new();
        let mut text = 0;
        let mut labels = Labels::new(&header);
        let selection =
            self.content_column.as_ref().map(|column| self.selection(&header, column)).transpose()?;
        for (number, row) in (2_u32..).zip(rows) {
            let row = row.map_err(|error| invalid_csv("Error", error))?;
            let document = match &selection {
                Some(selection) => selection.of(&row, &metadata),
                None => labels.row(&row)?.map(|content| {
                    let mut metadata = metadata.clone();
                    metadata.insert("content_type".into(), content_type(name, delimiter).into());
                    metadata.insert("document_type".into(), "table_row".into());
                    (content, metadata)
                }),
            };
            if let Some((content, mut metadata)) = document {
                text += content.len();
                check_text_size(text)?;
                // Each document is a mapping with at least content and metadata.
                check_value_count(documents.len().saturating_mul(MIN_DOCUMENT_VALUES + 2 * metadata.len()))?;
                metadata.insert("row_number".into(), number.into());
                documents.push((content, metadata));
            }
        }
        Ok(documents)
    }

    /// Selects one column as the content, and others as metadata.
    fn selection<'s>(&'s self, header: &[String], column: &str) -> Result<Selection<'s>, NodeError> {
        // Of several columns with the same name, the last is used.
        let indexes: HashMap<&str, usize> =
            header.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let Some(content) = indexes.get(column) else {
            return Err(NodeError::new("KeyError", format!("the file has no column `{column}`")));
        };
        let metadata = self.metadata_columns.iter();
        let metadata = metadata.filter_map(|column| Some((column.as_str(), *indexes.get(column.as_str())?)));
        Ok(Selection { content: *content, metadata: metadata.collect() })
    }
}

/// The indexes of the selected columns.
struct Selection<'s> {
    content: usize,
    metadata: Vec<(&'s str, usize)>,
}

impl Selection<'_> {
    /// Returns `None` for a row without content.
    fn of(&self, row: &[String], metadata: &Map<String, Value>) -> Option<Row> {
        let content = row.get(self.content).filter(|content| !content.trim().is_empty())?;
        let mut metadata = metadata.clone();
        for (column, index) in &self.metadata {
            metadata.insert((*column).to_owned(), row.get(*index).cloned().into());
        }
        Some((content.clone(), metadata))
    }
}

/// Refuses documents that together hold too many values.
fn check_value_count(values: usize) -> Result<(), NodeError> {
    if values <= MAX_OUTPUT_VALUES {
        return Ok(());
    }
    Err(NodeError::limit_exceeded(format!(
        "the documents of the file's rows would hold more than {MAX_OUTPUT_VALUES} values: divide the file, or set `document_creation_mode` to `one-doc-per-file`"
    )))
}

/// The job that converts a file.
#[derive(Serialize, Deserialize)]
pub(super) struct ConvertCsv {
    converter: CsvConverter,
    name: String,
    metadata: Map<String, Value>,
}

impl Job for ConvertCsv {
    const NAME: &'static str = "csv";

    fn most_here(&self) -> usize {
        MAX_INLINE_BYTES
    }

    fn perform(self, bytes: Vec<u8>) -> Result<Value, NodeError> {
        let documents = self.converter.convert(&self.name, &bytes, self.metadata)?;
        let json = |(content, metadata)| json!({"content": content, "metadata": metadata});
        Ok(documents.into_iter().map(json).collect())
    }
}

/// Makes one document of a file, with its content unchanged.
fn whole(name: &str, text: &str, delimiter: char, mut metadata: Map<String, Value>) -> Option<Row> {
    let content = text.trim();
    let rows = Rows::new(content, delimiter).try_fold(0_usize, |count, row| row.map(|_| count + 1));
    let rows = rows.unwrap_or_else(|_| content.lines().count());
    metadata.insert("content_type".into(), content_type(name, delimiter).into());
    metadata.insert("document_type".into(), "table".into());
    metadata.insert("row_count".into(), rows.saturating_sub(1).into());
    (!content.is_empty()).then(|| (content.to_owned(), metadata))
}

fn invalid_csv(kind: &'static str, error: csv::Error) -> NodeError {
    NodeError::new(kind, format!("invalid CSV: {error}"))
}

fn content_type(name: &str, delimiter: char) -> &'static str {
    if delimiter == '\t' || name.to_lowercase().ends_with(".tsv") {
        "text/tab-separated-values"
    } else {
        "text/csv"
    }
}

#[async_trait]
impl Kind for CsvConverter {
    /// Skips files that cannot be read, but fails if no file can be read.
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let converter = self.with(input);
        let mut made = ConvertedDocuments::default();
        let (mut last, mut has_converted) = (None, false);
        for source in Sources::of(call, input)? {
            let source = source?;
            let converted = async {
                let job = ConvertCsv {
                    converter: converter.clone(),
                    name: source.name(call).unwrap_or_else(|| "in-memory file".into()),
                    metadata: source.metadata(),
                };
                let ready = Ready::wait(call, job, source.size(call)).await?;
                ready.perform(source.content(call).await?.bytes).await
            };
            match converted.await {
                Ok(documents) => {
                    has_converted = true;
                    made.add(documents)?;
                }
                Err(error) if error.kind == LIMIT_EXCEEDED => return Err(error.into()),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) if !has_converted => Err(error.into()),
            _ => made.output(),
        }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a CSVConverter")?;
        sources::admit_files(&mut input)?;
        input.optional("delimiter", TEXT)?;
        input.optional("content_column", TEXT)?;
        input.optional("metadata_columns", TEXTS)?;
        input.optional("metadata", MAPPING_OR_LIST)?;
        input.optional("document_creation_mode", MODE)?;
        Ok(input.done())
    }
}
