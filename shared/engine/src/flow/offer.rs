//! What a model is told of a node that it may call as a tool.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a kind of node offers to a model.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// What it does and when to use it, unless the file has a `description`.
    pub(crate) description: &'static str,
    /// The JSON Schema of its input: an object.
    pub(crate) parameters: Value,
    /// Whether several calls of it may be made at the same time, unless the file says so.
    pub(crate) parallel: bool,
}

impl Default for Offer {
    /// Any input.
    fn default() -> Self {
        let parameters = json!({"type": "object", "properties": {}, "additionalProperties": true});
        Self { description: "", parameters, parallel: false }
    }
}

/// One of the tools that a node stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The JSON Schema of its input: an object.
    pub(crate) parameters: Value,
}
