//! `RecursiveJsonSplitter`: divides JSON into parts of limited size, each of which is valid JSON.

use super::{Registered, Splits, Splitter, Splitting, check_part_count, part_metadata};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
    python_json,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) const RECURSIVE_JSON_SPLITTER: Registered = Registered {
    class: "splitters.RecursiveJsonSplitter",
    name: Some("RecursiveJsonSplitter"),
    timeout: None,
    build: |_, fields, _| Some(Splitting::boxed(JsonSplitter::read(fields, ""))),
};

/// Sizes are of the JSON text, in characters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JsonSplitter {
    most: usize,
    /// Whether lists become mappings by index, whose parts keep the indexes.
    converts_lists: bool,
}

impl JsonSplitter {
    /// Reads the fields, whose names begin with `prefix`.
    pub(super) fn read(fields: Fields<'_>, prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}{name}");
        let most = fields.count(&key("max_chunk_size")).unwrap_or(2000) as usize;
        if most == 0 {
            let problem = format!("`{}` must be at least 1", key("max_chunk_size"));
            fields.mistake(fields.spot(&key("max_chunk_size")), problem);
        }
        // The lower limit exists in the reference, which ignores it.
        fields.count(&key("min_chunk_size"));
        Self { most, converts_lists: fields.bool(&key("convert_lists")).unwrap_or(false) }
    }

    fn divide(&self, value: &Value, parts: &mut Vec<Value>) -> Result<(), NodeError> {
        if size(value) <= self.most {
            parts.push(value.clone());
            return check_part_count(parts.len());
        }
        match value {
            Value::Object(map) => {
                let mut held = Map::new();
                let mut total = 2;
                for (key, item) in map {
                    let alone = size(&Value::String(key.clone())) + 2 + size(item);
                    if !held.is_empty() && total + 2 + alone > self.most {
                        parts.push(Value::Object(std::mem::take(&mut held)));
                    }
                    if alone + 2 > self.most {
                        self.divide(item, parts)?;
                        continue;
                    }
                    total = if held.is_empty() { 2 + alone } else { total + 2 + alone };
                    held.insert(key.clone(), item.clone());
                }
                parts.extend((!held.is_empty()).then_some(Value::Object(held)));
            }
            Value::Array(items) => {
                let mut held = Vec::new();
                let mut total = 2;
                for item in items {
                    let alone = size(item);
                    if !held.is_empty() && total + 2 + alone > self.most {
                        parts.push(Value::Array(std::mem::take(&mut held)));
                    }
                    if alone + 2 > self.most {
                        self.divide(item, parts)?;
                        continue;
                    }
                    total = if held.is_empty() { 2 + alone } else { total + 2 + alone };
                    held.push(item.clone());
                }
                parts.extend((!held.is_empty()).then_some(Value::Array(held)));
            }
            _ => parts.push(value.clone()),
        }
        check_part_count(parts.len())
    }
}

fn size(value: &Value) -> usize {
    python_json::unicode(value).chars().count()
}

fn lists_to_mappings(value: Value) -> Value {
    match value {
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| (index.to_string(), lists_to_mappings(item)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Object(map) => {
            map.into_iter().map(|(key, item)| (key, lists_to_mappings(item))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

impl Splits for JsonSplitter {
    const JOB: &'static str = "split_json";
}

impl Splitter for JsonSplitter {
    fn split(&self, document: &Document, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        NodeError::check_json(&document.content)?;
        let value = serde_json::from_str(&document.content).map_err(|problem| {
            NodeError::new("ValueError", format!("a document is not valid JSON: {problem}"))
        })?;
        let mut parts = Vec::new();
        self.divide(&if self.converts_lists { lists_to_mappings(value) } else { value }, &mut parts)?;
        let metadata = part_metadata(document);
        let part = |(index, part): (usize, Value)| {
            let mut metadata = metadata.clone();
            metadata.insert("chunk_index".into(), index.into());
            Document::new(ids.next(), python_json::unicode(&part), metadata)
        };
        Ok(parts.into_iter().enumerate().map(part).collect())
    }
}
