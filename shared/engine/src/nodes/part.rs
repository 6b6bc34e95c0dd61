//! Nodes within nodes, such as the embedder and the retriever of a `VectorStoreRetriever`.

use crate::{
    flow::{Call, Halt, Node, NodeError},
    load::{Fields, Loading, build_node},
    services::BUDGET_EXCEEDED,
};

/// Builds the node under `key`, whose class must end with `ending`, in any case. `None` means that an error was
/// reported.
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
    let part_fields = fields.fields(key)?;
    let part_id = part_fields.text("id").map_or_else(|| format!("{id}-{key}"), str::to_owned);
    let spec = build_node(&part_id, part_fields, loading)?;
    if !spec.type_path.to_lowercase().ends_with(&ending.to_lowercase()) {
        let message = format!("`{key}` must be a node of a type …{ending}, not `{}`", spec.type_path);
        part_fields.mistake(part_fields.spot("type"), message);
        return None;
    }
    Some(Box::new(Node::new(spec, Vec::new(), None)))
}

/// Turns the failure of an inner node into that of the outer one, after which an agent can continue. An exhausted
/// budget stays as it is.
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
