//! `JSONToCSV`: writes a JSON list of mappings as CSV text. The first mapping's keys are the columns.

use super::{InputCheck, LARGE, Registered, TEXT, failed};
use crate::{
    compute, csv,
    flow::{Call, Halt, Kind, NodeError},
    measure::too_long,
    python_text,
};
use async_trait::async_trait;
use runyard_runs::MAX_OUTPUT_BYTES;
use serde_json::{Map, Value, json};
use std::{borrow::Cow, sync::Arc};

pub(super) const JSON_TO_CSV: Registered = Registered {
    class: "transformers.JSONToCSV",
    name: Some("json-to-csv"),
    timeout: None,
    build: |_, _, _| Some(Box::new(JsonToCsv)),
};

#[derive(Debug)]
struct JsonToCsv;

#[async_trait]
impl Kind for JsonToCsv {
    async fn execute(&self, _: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let text = input["value"].as_str().unwrap_or_default();
        NodeError::check_json(text)?;
        let content = compute::block_if(text.len() > LARGE, || {
            csv(&serde_json::from_str::<Vec<_>>(text).map_err(failed)?)
        })?;
        Ok(Arc::new(json!({"content": content})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a JSONToCSV")?;
        input.required("value", TEXT)?;
        Ok(input.done())
    }
}

/// Writes rows as CSV; fails if a row has a key that the first row does not have.
fn csv(rows: &[Map<String, Value>]) -> Result<String, NodeError> {
    let first = rows.first().ok_or_else(|| failed("the list cannot be empty"))?;
    let columns: Vec<&str> = first.keys().map(String::as_str).collect();
    let mut text = String::new();
    csv::write_row(columns.iter().copied(), &mut text);
    for row in rows {
        if let Some(key) = row.keys().find(|key| !first.contains_key(*key)) {
            return Err(failed(format!("a mapping has `{key}`, which the first mapping does not have")));
        }
        let cells: Vec<Cow<'_, str>> = columns.iter().map(|column| cell(row.get(*column))).collect();
        csv::write_row(cells.iter().map(AsRef::as_ref), &mut text);
        // A row without most columns is short as JSON, but has a comma for each column as CSV.
        if text.len() > MAX_OUTPUT_BYTES {
            return Err(too_long());
        }
    }
    Ok(text)
}

fn cell(value: Option<&Value>) -> Cow<'_, str> {
    match value {
        None | Some(Value::Null) => "".into(),
        Some(Value::String(text)) => text.as_str().into(),
        Some(other) => python_text::str(other).into(),
    }
}
