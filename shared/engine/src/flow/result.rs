//! Results of nodes, in the reference's shape.

use super::INPUT_EXPIRED;
use crate::services::BUDGET_EXCEEDED;
use runyard_runs::{MAX_OUTPUT_VALUES, Size, holds_more_values};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, sync::Arc};

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// With an output.
    Success,
    /// With an error.
    Failure,
    /// Not executed, because of its dependencies.
    Skip,
}

impl Status {
    /// The status in the reference: `success`, `failure` or `skip`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Skip => "skip",
        }
    }
}

/// Why a node failed or was skipped, or why a workflow failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeError {
    /// The name of the exception that the reference raises.
    pub kind: Cow<'static, str>,
    /// What went wrong, without the kind.
    pub message: String,
    /// Whether an agent may continue after the error.
    pub recoverable: bool,
    /// The nodes that made a workflow fail.
    pub failed_nodes: Vec<FailedNode>,
    /// Whether a retry can succeed.
    pub(crate) retryable: bool,
}

/// Error kind of a node that exceeded a limit on steps, time, memory or output.
pub(crate) const LIMIT_EXCEEDED: &str = "LimitExceededError";

/// A node that made a workflow fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedNode {
    /// The node's id in the file.
    pub id: String,
    /// The node's name, if it has one.
    pub name: Option<String>,
    /// The message of the node's error.
    pub message: String,
}

impl NodeError {
    pub(crate) fn new(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            recoverable: false,
            failed_nodes: Vec::new(),
            retryable: true,
        }
    }

    /// Makes the error permanent: no retry can succeed.
    pub(crate) fn lasting(self) -> Self {
        Self { retryable: false, ..self }
    }

    /// The error for an exceeded limit, which the message names. Not retried: a retry would exceed it again.
    pub(crate) fn limit_exceeded(message: impl Into<String>) -> Self {
        Self::new(LIMIT_EXCEEDED, message).lasting()
    }

    /// Refuses JSON text with more values than a node's output may have, before memory is allocated for them.
    pub(crate) fn check_json(text: &str) -> Result<(), Self> {
        if holds_more_values(text.as_bytes(), MAX_OUTPUT_VALUES) {
            let message = format!(
                "the JSON holds more than {MAX_OUTPUT_VALUES} values (each object, array, scalar and key counts)"
            );
            return Err(Self::limit_exceeded(message));
        }
        Ok(())
    }

    /// The `code` of the run's error, for callers.
    pub(crate) fn code(&self) -> &'static str {
        match self.kind.as_ref() {
            BUDGET_EXCEEDED => "budget_exceeded",
            INPUT_EXPIRED => "input_expired",
            LIMIT_EXCEEDED => "limit_exceeded",
            _ => "node_failed",
        }
    }

    /// `{type, message, recoverable, failed_nodes}`.
    pub fn to_json(&self) -> Value {
        let failed: Vec<Value> = self
            .failed_nodes
            .iter()
            .map(|node| json!({"id": node.id, "name": node.name, "error_message": node.message}))
            .collect();
        json!({
            "type": self.kind,
            "message": self.message,
            "recoverable": self.recoverable,
            "failed_nodes": failed,
        })
    }

    /// Parses what [`NodeError::to_json`] returned for a node.
    pub(crate) fn from_json(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self {
            recoverable: value["recoverable"].as_bool().unwrap_or_default(),
            ..Self::new(text("type"), text("message"))
        }
    }
}

/// The result of a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeResult {
    pub(crate) status: Status,
    pub(crate) input: Input,
    pub(crate) output: Arc<Value>,
    /// The size of the output.
    pub(crate) size: Size,
    pub(crate) error: Option<NodeError>,
}

/// A node's input.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The value itself.
    Given(Arc<Value>),
    /// The run's input merged with the results of these nodes, without their inputs; built on demand.
    Merged(Box<[u32]>),
}

impl NodeResult {
    /// `{status, output, error?}`.
    pub(crate) fn without_input(&self) -> Value {
        let mut map = Map::new();
        map.insert("status".into(), self.status.name().into());
        self.rest(map)
    }

    /// `{status, input, output, error?}`.
    pub(crate) fn with_input(&self, input: Value) -> Value {
        let mut map = Map::new();
        map.insert("status".into(), self.status.name().into());
        map.insert("input".into(), input);
        self.rest(map)
    }

    fn rest(&self, mut map: Map<String, Value>) -> Value {
        map.insert("output".into(), (*self.output).clone());
        if let Some(error) = &self.error {
            map.insert("error".into(), error.to_json());
        }
        Value::Object(map)
    }
}
