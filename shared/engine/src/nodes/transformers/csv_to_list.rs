//! `CSVToList`: reads the rows of a CSV text as mappings.

use super::{FLAG, InputCheck, Registered, TEXT, failed};
use crate::{
    csv::{self, Rows},
    flow::{Call, Halt, Kind, NodeError},
    job::{Job, Ready},
    measure::OutputSize,
    nodes::files::{FILE_OR_TEXT, Files},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const CSV_TO_LIST: Registered = Registered {
    class: "transformers.CSVToList",
    name: Some("csv-to-list"),
    timeout: None,
    build: |_, _, _| Some(Box::new(CsvToList)),
};

/// The key of the cells of a row beyond the header.
const REST: &str = "null";

#[derive(Debug)]
struct CsvToList;

/// The job that reads rows.
#[derive(Serialize, Deserialize)]
pub(super) struct ReadRows {
    delimiter: char,
    by_header: bool,
}

impl Job for ReadRows {
    const NAME: &'static str = "csv_to_list";

    /// The limit on values bounds the worst case: a header that takes half of the bytes, and a row for every two bytes
    /// of the rest.
    fn most_here(&self) -> usize {
        16 * 1024
    }

    fn perform(self, text: Vec<u8>) -> Result<Value, NodeError> {
        let text = String::from_utf8(text).map_err(failed)?;
        let mut rows = Rows::new(&text, self.delimiter);
        let mut size = OutputSize::default();
        let mut list = Vec::new();
        let header = if self.by_header {
            rows.next().transpose().map_err(failed)?.unwrap_or_default()
        } else {
            Vec::new()
        };
        for row in rows {
            let row = row.map_err(failed)?;
            if self.by_header && row.is_empty() {
                continue;
            }
            let row = if self.by_header { by_header(&header, row) } else { by_index(row) };
            size.add(&row)?;
            list.push(row);
        }
        Ok(list.into())
    }
}

#[async_trait]
impl Kind for CsvToList {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let delimiter = input["delimiter"].as_str().unwrap_or_default();
        let delimiter = csv::delimiter(delimiter).map_err(failed)?;
        let job = ReadRows { delimiter, by_header: input["is_header_exists"] == true };
        let files = Files::of(call);
        let text = &input["value"];
        let bytes = text.as_str().map_or_else(|| files.size(text), str::len);
        let ready = Ready::wait(call, job, bytes).await?;
        let text = match text {
            Value::String(text) => text.as_bytes().to_vec(),
            file => files.read(file).await?.bytes,
        };
        Ok(Arc::new(json!({"content": ready.perform(text).await?})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a CSVToList")?;
        input.required("value", FILE_OR_TEXT)?;
        input.or("is_header_exists", true, FLAG)?;
        input.or("delimiter", ",", TEXT)?;
        Ok(input.done())
    }
}

/// A row as a mapping, by the names in the header. Missing cells are null.
fn by_header(header: &[String], row: Vec<String>) -> Value {
    let mut cells = row.into_iter();
    let mut map = Map::new();
    for name in header {
        map.insert(name.clone(), cells.next().into());
    }
    let rest: Vec<String> = cells.collect();
    if !rest.is_empty() {
        map.insert(REST.into(), rest.into());
    }
    Value::Object(map)
}

/// A row as a mapping, by `column0`, `column1`, ….
fn by_index(row: Vec<String>) -> Value {
    let cells = row.into_iter().enumerate();
    cells.map(|(index, cell)| (format!("column{index}"), Value::from(cell))).collect::<Map<_, _>>().into()
}
