//! Python: calls the user's function `run` in the sandbox.

use super::{Registered, mapping};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    python::PythonError,
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const PYTHON: Registered = Registered {
    class: "tools.Python",
    name: Some("python-tool"),
    timeout: None,
    build: |id, fields, _| Some(Box::new(Python::read(id, fields)?)),
};

#[derive(Debug)]
struct Python {
    code: String,
    /// Whether `run` gets the input's entries as keyword arguments, instead of one dictionary.
    as_keywords: bool,
}

impl Python {
    fn read(id: &str, fields: Fields<'_>) -> Option<Self> {
        if fields.get("code").is_none() {
            fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `code`"));
        }
        let as_keywords = fields.bool("use_multiple_params").unwrap_or(false);
        Some(Self { code: fields.text("code")?.to_owned(), as_keywords })
    }
}

#[async_trait]
impl Kind for Python {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        // Code in the sandbox has no external effects, so it needs no claim: it may be executed again after a crash.
        let empty = Map::new();
        let arguments = input.as_object().unwrap_or(&empty);
        let timeout = call.node.errors.timeout;
        let app = call.run.new_run().app;
        let result = call.services.python.run(app, &self.code, arguments, self.as_keywords, timeout).await;
        match result {
            Ok(result) if result.get("content").is_some() => Ok(Arc::new(result)),
            Ok(result) => Ok(Arc::new(json!({"content": result}))),
            Err(PythonError::TimedOut) if timeout.is_some() => Err(NodeError::new("TimeoutError", "").into()),
            Err(error) => {
                let message = format!("Code execution error: {error}");
                let recoverable = !matches!(error, PythonError::Broken(_));
                Err(NodeError { recoverable, ..NodeError::new("ToolExecutionException", message) }.into())
            }
        }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "a Python node")
    }
}
