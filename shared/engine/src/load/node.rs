//! Compiles one node: first the fields that all kinds share, then those of its kind.

use super::{Connection, Document, Fields, Mistakes, Within, Yaml};
use crate::{
    flow::{Approval, Behavior, ErrorHandling, Expiry, NodeSpec, OnExpiry},
    nodes::{self, Lookup, Registered},
    prompt::Prompt,
    template::Template,
    transform::{CompiledPath, Selector, Transformer},
};
use serde_json::{Map, Value};
use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

/// The file and its sections, which nodes can refer to.
pub(crate) struct Loading<'l> {
    pub(crate) mistakes: &'l RefCell<Mistakes>,
    pub(crate) connections: &'l HashMap<String, Option<Connection>>,
    pub(crate) prompts: &'l HashMap<String, &'l Yaml>,
    pub(crate) env: &'l super::Env<'l>,
    /// A prompt that replaces the node's own.
    pub(crate) prompt: Option<Arc<Prompt>>,
    /// The file, for nodes that contain a flow of it.
    pub(crate) document: Option<&'l Document<'l>>,
    /// The flows that are being compiled.
    pub(crate) within: Option<&'l Within<'l>>,
}

/// Compiles the node `id`. `None`, with a reported error, if it is invalid.
pub(crate) fn build_node(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<NodeSpec> {
    if fields.is_full() {
        return None;
    }
    let Some(type_path) = fields.text("type") else {
        if fields.get("type").is_none() {
            fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `type`"));
        }
        return None;
    };
    let registered = match nodes::find(type_path) {
        Lookup::Native(registered) => registered,
        Lookup::Other(problem) => {
            fields.mistake(fields.spot("type"), problem);
            return None;
        }
    };
    spec(id, type_path, registered, fields, loading)
}

/// Compiles the node `id` of a known type.
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
    let approval = fields.fields("approval").and_then(approval);
    let cached = fields.fields("caching").and_then(|caching| caching.bool("enabled")).unwrap_or(false);
    if let Some(streaming) = fields.fields("streaming") {
        streaming.know(STREAMING_KEYS);
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
        approval,
        cached,
        idempotent: fields.bool("idempotent").unwrap_or(true),
    })
}

/// Keys of `approval` without effect: the server decides how people are reached.
const APPROVAL_WITHOUT_EFFECT: &[&str] = &["event", "feedback_method"];
/// Keys of `approval` that have an effect if it is enabled.
const APPROVAL_KEYS: &[&str] =
    &["accept_pattern", "expires_in_seconds", "msg_template", "mutable_data_params", "on_expiry"];

/// The node's approval, if it is enabled.
fn approval(fields: Fields<'_>) -> Option<Approval> {
    fields.know(APPROVAL_WITHOUT_EFFECT);
    fields.know(APPROVAL_KEYS);
    if fields.bool("enabled") != Some(true) {
        return None;
    }
    let text = fields.text("msg_template").unwrap_or(DEFAULT_MESSAGE);
    let message =
        Template::new(text).map_err(|problem| fields.mistake(fields.spot("msg_template"), problem)).ok()?;
    let editable = fields.list("mutable_data_params").unwrap_or_default();
    let words = [("fail", OnExpiry::Fail), ("approve", OnExpiry::Approve), ("deny", OnExpiry::Deny)];
    Some(Approval {
        message: message.into(),
        editable: editable.iter().filter_map(|name| name.text().map(str::to_owned)).collect(),
        accept_pattern: fields.text("accept_pattern").unwrap_or_default().to_owned(),
        expiry: expiry(fields, &words),
    })
}

const DEFAULT_MESSAGE: &str = "Approve {{ name or id }}?";

/// Reads `expires_in_seconds` and `on_expiry` of a question to a person. By default, an unanswered question fails.
pub(crate) fn expiry(fields: Fields<'_>, words: &[(&str, OnExpiry)]) -> Option<Expiry> {
    let then = fields.choice("on_expiry", words).unwrap_or(OnExpiry::Fail);
    let seconds = fields.float("expires_in_seconds")?;
    if seconds <= 0.0 {
        let message = "`expires_in_seconds` must be more than 0";
        fields.mistake(fields.spot("expires_in_seconds"), message.into());
        return None;
    }
    Some(Expiry { after: crate::flow::seconds(seconds), then })
}

/// Keys of `streaming`. With `enabled`, a model's text is streamed. The API's contract defines its chunks and event
/// names.
const STREAMING_KEYS: &[&str] = &["enabled", "event", "include_usage", "min_chunk_chars", "mode", "timeout"];

/// Reads `error_handling`.
pub(crate) fn error_handling(fields: Fields<'_>, default_timeout: Option<Duration>) -> ErrorHandling {
    // A node with its own `error_handling` gets no default of its kind, not even the timeout.
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
    let path = fields.text("path").filter(|path| !path.is_empty()).map(CompiledPath::new);
    if let Some(problem) = path.as_ref().and_then(CompiledPath::over_limit) {
        fields.mistake(fields.spot("path"), problem.to_owned());
    }
    let selector = fields.fields("selector").and_then(selector);
    Transformer { path: path.map(Arc::new), selector: selector.map(Arc::new) }
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
    let selector = Selector::new(texts);
    for (key, problem) in selector.over_limit() {
        fields.mistake(fields.spot(key), format!("`{key}`: {problem}"));
    }
    (!entries.is_empty()).then_some(selector)
}
