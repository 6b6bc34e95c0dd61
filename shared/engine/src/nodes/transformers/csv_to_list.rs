//! `CSVToList`: reads the rows of a CSV text as mappings.

use super::{Admission, FLAG, Registered, TEXT, failed};
use crate::{
    csv::{self, Rows},
    flow::{Call, Halt, Kind, NodeError},
    nodes::files::{FILE_OR_TEXT, Files},
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const CSV_TO_LIST: Registered = Registered {
    class: "transformers.CSVToList",
    name: Some("csv-to-list"),
    timeout: None,
    build: |_, _, _| Some(Box::new(CsvToList)),
};

/// Where the cells of a row go that are more than the header has.
const REST: &str = "null";

#[derive(Debug)]
struct CsvToList;

#[async_trait]
impl Kind for CsvToList {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let text = match &input["value"] {
            Value::String(text) => text.clone(),
            file => String::from_utf8(Files::of(call).read(file).await?.bytes).map_err(failed)?,
        };
        let delimiter = input["delimiter"].as_str().unwrap_or_default();
        let delimiter = csv::delimiter(delimiter).map_err(failed)?;
        let rows = Rows::new(&text, delimiter).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let rows = if input["is_header_exists"] == true { by_header(rows) } else { by_place(rows) };
        Ok(Arc::new(json!({"content": rows})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = Admission::of(&input, "a CSVToList")?;
        input.required("value", FILE_OR_TEXT)?;
        input.or("is_header_exists", true, FLAG)?;
        input.or("delimiter", ",", TEXT)?;
        Ok(input.done())
    }
}

/// Rows by the names of the first. A short row has null for what it lacks; empty rows are left out.
fn by_header(rows: Vec<Vec<String>>) -> Vec<Value> {
    let mut rows = rows.into_iter();
    let header = rows.next().unwrap_or_default();
    let rows = rows.filter(|row| !row.is_empty()).map(|row| {
        let mut cells = row.into_iter();
        let mut map = Map::new();
        for name in &header {
            map.insert(name.clone(), cells.next().into());
        }
        let rest: Vec<String> = cells.collect();
        if !rest.is_empty() {
            map.insert(REST.into(), rest.into());
        }
        Value::Object(map)
    });
    rows.collect()
}

/// Rows by `column0`, `column1`, ….
fn by_place(rows: Vec<Vec<String>>) -> Vec<Value> {
    let row = |row: Vec<String>| {
        row.into_iter().enumerate().map(|(place, cell)| (format!("column{place}"), cell)).collect()
    };
    rows.into_iter().map(row).collect()
}
