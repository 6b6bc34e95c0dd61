//! `CSVConverter`: a document for each row of CSV files, or for each file. These documents have no ids.

use super::{
    Admission, MAPPING_OR_LIST, Registered, Sources, TEXT, TEXTS, blocking, labeled, little, sources,
    with_path,
};
use crate::{
    csv::{self, Rows},
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    nodes::admit::Check,
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const CSV_CONVERTER: Registered = Registered {
    class: "converters.CSVConverter",
    name: Some("csv-file-converter"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(CsvConverter::read(fields))),
};

/// The names of the ways to make documents, and whether a whole file becomes one.
const MODES: &[(&str, bool)] = &[("one-doc-per-row", false), ("one-doc-per-file", true)];

const MODE: Check = Check::new("one-doc-per-row or one-doc-per-file", |value| {
    MODES.iter().any(|(name, _)| value == name).then(|| value.clone())
});

/// The content of a document, and its metadata.
type Made = (String, Map<String, Value>);

#[derive(Clone, Debug)]
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

    /// The same, with what an input says instead.
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

    /// `{content, metadata}` for each document of a file.
    pub(super) fn convert(
        &self,
        name: &str,
        bytes: &[u8],
        metadata: Map<String, Value>,
    ) -> Result<Vec<Made>, NodeError> {
        let delimiter = csv::delimiter(&self.delimiter).map_err(|error| bad("TypeError", error))?;
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}');
        let metadata = with_path(metadata, name);
        if self.by_file {
            return Ok(whole(name, text, delimiter, metadata).into_iter().collect());
        }
        let mut rows = Rows::of_file(text, delimiter, true);
        let Some(header) = rows.next() else { return Ok(Vec::new()) };
        let header = header.map_err(|error| bad("Error", error))?;
        let mut documents = Vec::new();
        let mut text = 0;
        for (number, row) in (2_u32..).zip(rows) {
            let row = row.map_err(|error| bad("Error", error))?;
            let document = match &self.content_column {
                Some(column) => self.selected(&header, &row, column, metadata.clone())?,
                None => labeled(&header, &row).map(|content| {
                    let mut metadata = metadata.clone();
                    metadata.insert("content_type".into(), content_type(name, delimiter).into());
                    metadata.insert("document_type".into(), "table_row".into());
                    (content, metadata)
                }),
            };
            if let Some((content, mut metadata)) = document {
                text += content.len();
                little(text)?;
                metadata.insert("row_number".into(), number.into());
                documents.push((content, metadata));
            }
        }
        Ok(documents)
    }

    /// One column is the content, others are metadata. Rows without content are left out.
    fn selected(
        &self,
        header: &[String],
        row: &[String],
        column: &str,
        mut metadata: Map<String, Value>,
    ) -> Result<Option<Made>, NodeError> {
        // Of columns with the same name the last counts.
        let place = |wanted: &str| header.iter().rposition(|name| name == wanted);
        let Some(content) = place(column) else {
            return Err(NodeError::new("KeyError", format!("the file has no column `{column}`")));
        };
        let Some(content) = row.get(content).filter(|content| !content.trim().is_empty()) else {
            return Ok(None);
        };
        for column in &self.metadata_columns {
            if let Some(place) = place(column) {
                metadata.insert(column.clone(), row.get(place).cloned().into());
            }
        }
        Ok(Some((content.clone(), metadata)))
    }
}

/// A file as it is.
fn whole(name: &str, text: &str, delimiter: char, mut metadata: Map<String, Value>) -> Option<Made> {
    let content = text.trim();
    let rows: Result<Vec<_>, _> = Rows::new(content, delimiter).collect();
    let rows = rows.map_or_else(|_| content.lines().count(), |rows| rows.len());
    metadata.insert("content_type".into(), content_type(name, delimiter).into());
    metadata.insert("document_type".into(), "table".into());
    metadata.insert("row_count".into(), rows.saturating_sub(1).into());
    (!content.is_empty()).then(|| (content.to_owned(), metadata))
}

fn bad(kind: &'static str, error: csv::Error) -> NodeError {
    NodeError::new(kind, format!("this is no CSV: {error}"))
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
    /// Files that cannot be read are passed over, unless none can.
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let converter = self.with(input);
        let mut documents: Vec<Value> = Vec::new();
        let (mut last, mut converted, mut text) = (None, 0, 0);
        for source in Sources::of(call, input)?.list {
            let made = async {
                let content = source.content(call).await?;
                let (converter, metadata) = (converter.clone(), source.metadata.clone());
                let name = content.name.unwrap_or_else(|| "in-memory file".into());
                blocking(move || converter.convert(&name, &content.bytes, metadata)).await
            };
            match made.await {
                Ok(made) => {
                    converted += 1;
                    text += made.iter().map(|(content, _)| content.len()).sum::<usize>();
                    little(text)?;
                    let json = |(content, metadata)| json!({"content": content, "metadata": metadata});
                    documents.extend(made.into_iter().map(json));
                }
                Err(error) => last = Some(error),
            }
        }
        if let Some(error) = last.filter(|_| converted == 0) {
            return Err(error.into());
        }
        if documents.is_empty() {
            return Err(NodeError::new("ValueError", "no documents came of the files").into());
        }
        Ok(Arc::new(json!({"documents": documents})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = Admission::of(&input, "a CSVConverter")?;
        sources::admit_files(&mut input)?;
        input.optional("delimiter", TEXT)?;
        input.optional("content_column", TEXT)?;
        input.optional("metadata_columns", TEXTS)?;
        input.optional("metadata", MAPPING_OR_LIST)?;
        input.optional("document_creation_mode", MODE)?;
        Ok(input.done())
    }
}
