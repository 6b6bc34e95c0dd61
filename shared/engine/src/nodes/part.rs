//! Nodes that others are made of: the embedder and the retriever of a `VectorStoreRetriever`, for one.

use crate::{
    flow::{Call, Halt, Node, NodeError},
    load::{Fields, Loading, build_node},
    services::BUDGET_EXCEEDED,
};

/// The node under `key`, whose class must end with `ending`, whatever its case. `None` comes with a mistake.
pub(super) fn part(
    id: &str,
    key: &str,
    ending: &str,
    fields: Fields<'_>,
    loading: &Loading<'_>,
) -> Option<Box<Node>> {
    if fields.get(key).is_none() {
        fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `{key}`"));
        return None;
    }
    let own = fields.fields(key)?;
    let inner = own.text("id").map_or_else(|| format!("{id}-{key}"), str::to_owned);
    let spec = build_node(&inner, own, loading)?;
    if !spec.type_path.to_lowercase().ends_with(&ending.to_lowercase()) {
        let message = format!("`{key}` must be a node of a type …{ending}, not `{}`", spec.type_path);
        own.mistake(own.spot("type"), message);
        return None;
    }
    Some(Box::new(Node::new(spec, Vec::new(), None)))
}

/// What the failure of a part means for the whole: an agent can go on after it. Except after a budget that is used up.
pub(super) fn tool_failure(call: Call<'_>, halt: Halt) -> Halt {
    match halt {
        Halt::Failed(error) if error.kind != BUDGET_EXCEEDED => {
            let name = call.node.name.as_deref().unwrap_or(&call.node.id);
            let message = format!("`{name}` failed: {}", error.message);
            NodeError { recoverable: true, ..NodeError::new("ToolExecutionException", message) }.into()
        }
        other => other,
    }
}
