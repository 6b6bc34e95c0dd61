//! Builds one node: what all kinds have in common, then what its kind adds.

use super::{Connection, Document, Fields, Mistakes, Within, Yaml};
use crate::{
    flow::{Behavior, ErrorHandling, NodeSpec},
    nodes::{self, Found, Registered},
    prompt::Prompt,
    transform::{Pointer, Selector, Transformer},
};
use serde_json::{Map, Value};
use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

/// What nodes of a file can refer to.
pub(crate) struct Loading<'l> {
    pub(crate) mistakes: &'l RefCell<Mistakes>,
    pub(crate) connections: &'l HashMap<String, Option<Connection>>,
    pub(crate) prompts: &'l HashMap<String, &'l Yaml>,
    pub(crate) env: &'l super::Env<'l>,
    /// The prompt that a node has instead of its own.
    pub(crate) prompt: Option<Arc<Prompt>>,
    /// The file, for nodes that hold a flow of it.
    pub(crate) document: Option<&'l Document<'l>>,
    /// The flows that are being built.
    pub(crate) within: Option<&'l Within<'l>>,
}

/// Builds the node `id`. `None` if it cannot be built; then there is a mistake.
pub(crate) fn build_node(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<NodeSpec> {
    let Some(type_path) = fields.text("type") else {
        if fields.get("type").is_none() {
            fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `type`"));
        }
        return None;
    };
    let registered = match nodes::find(type_path) {
        Found::Native(registered) => registered,
        Found::Other(problem) => {
            fields.mistake(fields.spot("type"), problem);
            return None;
        }
    };
    spec(id, type_path, registered, fields, loading)
}

/// Builds the node `id` of a known type.
pub(crate) fn spec(
    id: &str,
    type_path: &str,
    registered: &Registered,
    fields: Fields<'_>,
    loading: &Loading<'_>,
) -> Option<NodeSpec> {
    let errors = error_handling(fields, registered.timeout);
    let transformer = |key: &str| fields.fields(key).map(transformer).unwrap_or_default();
    let (input, output) = (transformer("input_transformer"), transformer("output_transformer"));
    let mapping = match fields.json("input_mapping") {
        Some(Value::Object(mapping)) => mapping,
        Some(_) => {
            fields.mistake(fields.spot("input_mapping"), "`input_mapping` must be a mapping".into());
            Map::new()
        }
        None => Map::new(),
    };
    if let Some(approval) = fields.fields("approval")
        && approval.bool("enabled") == Some(true)
    {
        let message = "approval is not supported yet; set `enabled: false` or remove `approval`";
        approval.mistake(approval.yaml.spot, message.into());
    }
    let cached = fields.fields("caching").and_then(|caching| caching.bool("enabled")).unwrap_or(false);
    if let Some(streaming) = fields.fields("streaming") {
        streaming.know(STREAMING);
    }
    let kind = (registered.build)(id, fields, loading)?;
    let name = fields.text("name").or(registered.name).map(str::to_owned);
    Some(NodeSpec {
        id: id.into(),
        name,
        type_path: type_path.to_owned(),
        kind,
        input,
        mapping,
        output,
        errors,
        cached,
        idempotent: fields.bool("idempotent").unwrap_or(true),
    })
}

/// What `streaming` may say. A model's text is always shown as it comes where `enabled` is true; how it is cut and what
/// its events are called is the contract's.
const STREAMING: &[&str] = &["enabled", "event", "include_usage", "min_chunk_chars", "mode", "timeout"];

/// Reads `error_handling`.
pub(crate) fn error_handling(fields: Fields<'_>, default_timeout: Option<Duration>) -> ErrorHandling {
    // A file that has its own error handling gets none of the kind's, the time limit included.
    let Some(own) = fields.fields("error_handling") else {
        return ErrorHandling { timeout: default_timeout, ..ErrorHandling::default() };
    };
    let default = ErrorHandling::default();
    let behaviors = [("raise", Behavior::Raise), ("return", Behavior::Return)];
    ErrorHandling {
        timeout: own.float("timeout_seconds").map(crate::flow::seconds),
        retry_interval: own.float("retry_interval_seconds").unwrap_or(default.retry_interval),
        max_retries: own.count("max_retries").unwrap_or(default.max_retries),
        backoff_rate: own.float("backoff_rate").unwrap_or(default.backoff_rate),
        max_retry_interval: own.float("max_retry_interval_seconds"),
        behavior: own.choice("behavior", &behaviors).unwrap_or(default.behavior),
    }
}

/// Reads `{path, selector}`.
pub(crate) fn transformer(fields: Fields<'_>) -> Transformer {
    let path = fields.text("path").filter(|path| !path.is_empty()).map(Pointer::new);
    Transformer { path, selector: fields.fields("selector").and_then(selector) }
}

fn selector(fields: Fields<'_>) -> Option<Selector> {
    let entries = fields.yaml.entries()?;
    for entry in entries {
        if entry.value.text().is_none() {
            let message = format!("a selector takes paths and text, but `{}` is {}; quote it", entry.key, {
                entry.value.kind()
            });
            fields.mistake(entry.value.spot, message);
        }
    }
    let texts = entries.iter().filter_map(|entry| Some((entry.key.as_str(), entry.value.text()?)));
    (!entries.is_empty()).then(|| Selector::new(texts))
}
