//! The description of a node for a model that may call it as a tool.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A kind's description as a tool.
#[derive(Clone, Debug)]
pub(crate) struct ToolSpec {
    /// What the node does and when to use it. A `description` in the file replaces it.
    pub(crate) description: &'static str,
    /// The JSON Schema of its input: an object.
    pub(crate) parameters: Value,
    /// Whether several calls of it may be made concurrently, unless the file says otherwise.
    pub(crate) parallel: bool,
}

impl Default for ToolSpec {
    /// Any input.
    fn default() -> Self {
        let parameters = json!({"type": "object", "properties": {}, "additionalProperties": true});
        Self { description: "", parameters, parallel: false }
    }
}

/// A tool of a server that a node stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The JSON Schema of its input: an object.
    pub(crate) parameters: Value,
}
