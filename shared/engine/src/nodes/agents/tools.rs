//! The tools of an agent: their descriptions for the model, and what a call executes.

use super::built_in::BuiltInTool;
use crate::{
    flow::{Call, Halt, Listed, Node, NodeSpec, ToolSpec},
    load::{Connection, Fields, Loading, build_node},
    nodes::{class_of, tools::BUILT_IN},
    schema::Schema,
    transform::Transformer,
};
use runyard_runs::{EventBody, ToolRef};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// The name of the tool that calls several others.
pub(super) const PARALLEL: &str = "run-parallel";

/// A tool of an agent.
#[derive(Debug)]
pub(super) struct Tool {
    /// Its id in the file.
    id: String,
    pub(super) name: String,
    /// The name that the model uses.
    pub(super) called: String,
    pub(super) description: String,
    /// The JSON Schema of its input.
    pub(super) parameters: Value,
    /// The compiled schema. It allows additional properties.
    pub(super) schema: Option<Schema>,
    /// Name and type in events.
    pub(super) reference: ToolRef,
    /// Whether it may be called at the same time as other tools.
    pub(super) parallel: bool,
    /// Sets further fields of its input from the agent's input.
    pub(super) selected: Transformer,
    pub(super) body: Body,
}

/// What a call of a tool executes.
#[derive(Debug)]
pub(super) enum Body {
    /// A node.
    Node { node: Box<Node>, class: String },
    /// A server that lists its tools at run time. It is not called itself.
    Server { node: Arc<Node> },
    /// One of a server's tools; `tool` is its name on the server.
    Listed { node: Arc<Node>, tool: String },
    /// Another agent.
    Agent { node: Box<Node>, max_calls: Option<u32> },
    /// A tool on the agent's own files and tasks.
    BuiltInTool(BuiltInTool),
    /// Calls several other tools.
    Parallel,
    /// Summarises the agent's conversation.
    Compact,
}

/// Fields that all tools may have in addition to those of their node.
const COMMON: &[&str] =
    &["description", "file_store", "idempotent", "is_parallel_execution_allowed", "validate_factory"];

/// The name that the model uses: ASCII letters, digits, `_` and `-`; a space becomes `-`.
pub(super) fn called(name: &str) -> String {
    let kept = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    name.replace(' ', "-").chars().filter(kept).collect()
}

impl Tool {
    /// Reads a tool of the agent `agent`. `None` if it cannot be built; then an error is reported.
    pub(super) fn read(agent: &str, index: usize, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let id = fields.text("id").map_or_else(|| format!("{agent}-tool-{index}"), str::to_owned);
        let type_path = fields.text("type").unwrap_or_default();
        fields.know(COMMON);
        let class = class_of(type_path).unwrap_or_default();
        let tool = match class.as_str() {
            "agents.Agent" => {
                let spec = build_node(&id, fields, loading)?;
                Self::agent(id, None, spec, fields, type_path, false)
            }
            "tools.SubAgentTool" => Self::sub_agent(id, fields, loading, type_path)?,
            _ if BUILT_IN.iter().any(|own| own.class == class) => {
                let own = BUILT_IN.iter().find(|own| own.class == class)?;
                Self::own(id, *own, fields)
            }
            "tools.ParallelToolCallsTool" => Self::parallel(),
            "tools.ContextManagerTool" => Self::compact(fields.text("name"), fields.text("description")),
            _ => Self::node(id, build_node_of(agent, index, fields, loading)?, class, fields),
        };
        Some(Self { parallel: fields.bool("is_parallel_execution_allowed").unwrap_or(tool.parallel), ..tool })
    }

    /// Whether each call needs approval. Then results are not reused, and the call's events have the approved input.
    pub(super) fn asks(&self) -> bool {
        match &self.body {
            Body::Node { node, .. } | Body::Agent { node, .. } => node.approval.is_some(),
            Body::Listed { node, .. } => node.approval.is_some(),
            Body::Server { .. } | Body::BuiltInTool(_) | Body::Parallel | Body::Compact => false,
        }
    }

    /// Whether its `files` are paths of the agent's files, by the tool's own names for them.
    pub(super) fn takes_files(&self) -> bool {
        matches!(&self.body, Body::Node { class, .. } if class == "tools.HttpApiCall")
    }

    fn node(id: String, spec: NodeSpec, class: String, fields: Fields<'_>) -> Self {
        let offer = spec.kind.offer();
        let name = spec.name.clone().unwrap_or_else(|| id.clone());
        let kind = spec.type_path.clone();
        let is_server = spec.kind.is_server();
        let (node, selected) = node_of(spec);
        let body =
            if is_server { Body::Server { node: Arc::from(node) } } else { Body::Node { node, class } };
        let tool = Self::new(id, name, kind, offer, fields.text("description"), body);
        Self { selected, ..tool }
    }

    fn agent(
        id: String,
        name: Option<&str>,
        spec: NodeSpec,
        fields: Fields<'_>,
        type_path: &str,
        parallel: bool,
    ) -> Self {
        let name = name.map(str::to_owned).or_else(|| spec.name.clone()).unwrap_or_else(|| id.clone());
        let (node, selected) = node_of(spec);
        let max_calls = fields.count("max_calls");
        let body = Body::Agent { node, max_calls };
        let offer = ToolSpec { description: "", parameters: agent_parameters(), parallel };
        let mut tool = Self::new(id, name, type_path.to_owned(), offer, fields.text("description"), body);
        let hint = if parallel {
            "Each call starts afresh, and several may run at the same time."
        } else {
            "Calls run one after another."
        };
        let description = format!("{} [An agent. {hint}]", tool.description.trim_end());
        description.trim_start().clone_into(&mut tool.description);
        Self { selected, ..tool }
    }

    /// Reads `agent`, an agent, or `agent_factory`, an agent without a type that may have its own connections.
    fn sub_agent(id: String, fields: Fields<'_>, loading: &Loading<'_>, type_path: &str) -> Option<Self> {
        if let Some(agent) = fields.fields("agent") {
            let inner = agent.text("id").map_or_else(|| format!("{id}-agent"), str::to_owned);
            let spec = build_node(&inner, agent, loading)?;
            return Some(Self::agent(id, fields.text("name"), spec, fields, type_path, false));
        }
        let Some(factory) = fields.fields("agent_factory") else {
            fields.mistake(fields.yaml.spot, "a sub-agent needs its `agent` or its `agent_factory`".into());
            return None;
        };
        let mut connections: HashMap<String, Option<Connection>> = loading.connections.clone();
        for entry in factory.fields("connections").and_then(|own| own.yaml.entries()).unwrap_or_default() {
            let what = format!("the connection `{}`", entry.key);
            let connection = Fields::new(&entry.value, &what, loading.mistakes)
                .and_then(|fields| Connection::read(fields, &what));
            connections.insert(entry.key.clone(), connection);
        }
        let loading = Loading { connections: &connections, prompt: loading.prompt.clone(), ..*loading };
        let spec = super::blueprint(&format!("{id}-agent"), factory, &loading)?;
        Some(Self::agent(id, fields.text("name"), spec, fields, type_path, true))
    }

    fn own(id: String, own: BuiltInTool, fields: Fields<'_>) -> Self {
        let name = fields.text("name").unwrap_or(own.name);
        let kind = fields.text("type").unwrap_or_default().to_owned();
        Self::new(id, name.to_owned(), kind, own.offer(), fields.text("description"), Body::BuiltInTool(own))
    }

    /// The tools that a server lists. The list is journaled under a key of the agent.
    pub(super) async fn of_server(&self, call: Call<'_>) -> Result<Vec<Self>, Halt> {
        let Body::Server { node } = &self.body else { return Ok(Vec::new()) };
        let key = format!("{}/tools/{}", call.key, self.id);
        let listed: Vec<Listed> = if let Some(recorded) = call.run.recorded(&key) {
            serde_json::from_value(recorded.journal).unwrap_or_default()
        } else {
            let listed = node.kind.list(Call { node, key: &key, ..call }).await?;
            call.run.record(&key, EventBody::RunCheckpoint, Some(json!(listed)));
            listed
        };
        let tools = listed.into_iter().map(|listed| {
            let offer = ToolSpec { description: "", parameters: listed.parameters, parallel: self.parallel };
            let body = Body::Listed { node: Arc::clone(node), tool: listed.name.clone() };
            let kind = self.reference.kind.clone();
            Self::new(self.id.clone(), listed.name, kind, offer, Some(&listed.description), body)
        });
        Ok(tools.collect())
    }

    /// One of the agent's own tools, as its settings enable it.
    pub(super) fn built_in(own: BuiltInTool) -> Self {
        let kind = format!("dynamiq.nodes.{}", own.class);
        Self::new(own.name.to_owned(), own.name.to_owned(), kind, own.offer(), None, Body::BuiltInTool(own))
    }

    /// The tool that calls several others.
    pub(super) fn parallel() -> Self {
        let offer = ToolSpec {
            description: "Calls several tools at the same time. Use it when the calls do not need each other's \
                          results; every result comes back.",
            parameters: parallel_parameters(),
            parallel: false,
        };
        let kind = "dynamiq.nodes.tools.ParallelToolCallsTool".to_owned();
        Self::new(PARALLEL.to_owned(), PARALLEL.to_owned(), kind, offer, None, Body::Parallel)
    }

    /// The tool that shortens the conversation.
    pub(super) fn compact(name: Option<&str>, description: Option<&str>) -> Self {
        let offer = ToolSpec {
            description: "Summarises the conversation so far to make room. The messages before are replaced by the \
                          summary: put what must be kept word for word (ids, file names, figures) into `notes`.",
            parameters: json!({
                "type": "object",
                "properties": {"notes": {
                    "type": ["string", "null"],
                    "description": "What must be kept word for word.",
                }},
            }),
            parallel: false,
        };
        let name = name.unwrap_or("context-manager");
        let kind = "dynamiq.nodes.tools.ContextManagerTool".to_owned();
        Self::new(name.to_owned(), name.to_owned(), kind, offer, description, Body::Compact)
    }

    fn new(
        id: String,
        name: String,
        kind: String,
        offer: ToolSpec,
        description: Option<&str>,
        body: Body,
    ) -> Self {
        let ToolSpec { description: own, parameters, parallel } = offer;
        Self {
            called: called(&name),
            description: description.unwrap_or(own).trim().to_owned(),
            schema: schema(&parameters),
            reference: ToolRef { name: name.clone(), kind },
            id,
            name,
            parameters,
            parallel,
            selected: Transformer::default(),
            body,
        }
    }

    /// Its ids: of its agent, if that has another one, and its own.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        let agent = match &self.body {
            Body::Agent { node, .. } if *node.id != *self.id => Some(&*node.id),
            _ => None,
        };
        agent.into_iter().chain([self.id.as_str()])
    }
}

/// Builds the node of a tool. A tool without an id gets one from its agent.
fn build_node_of(agent: &str, index: usize, fields: Fields<'_>, loading: &Loading<'_>) -> Option<NodeSpec> {
    let id = fields.text("id").map_or_else(|| format!("{agent}-tool-{index}"), str::to_owned);
    build_node(&id, fields, loading)
}

/// The node of a tool, and its input transformer, which adds to the model's arguments and does not replace them.
fn node_of(spec: NodeSpec) -> (Box<Node>, Transformer) {
    let mut node = Node::new(spec, Vec::new(), None);
    let selected = std::mem::take(&mut node.input);
    (Box::new(node), selected)
}

/// `None` if the schema cannot be compiled: then only the node itself checks the input.
fn schema(parameters: &Value) -> Option<Schema> {
    let mut parameters = parameters.clone();
    if let Value::Object(map) = &mut parameters {
        map.remove("additionalProperties");
    }
    Schema::new(&parameters).ok()
}

pub(super) fn agent_parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "brief": {"type": "string", "description": "A few words on what this call does."},
            "input": {"type": "string", "description": "The task for the agent, with all that it must know."},
            "files": {
                "type": ["array", "null"],
                "items": {"type": "string"},
                "description": "Paths of files to hand over.",
            },
        },
    })
}

fn parallel_parameters() -> Value {
    json!({
        "type": "object",
        "properties": {"tools": {
            "type": "array",
            "description": "The calls.",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "The tool's name."},
                    "input": {"type": "object", "description": "Its arguments, by name."},
                    "thought": {"type": "string", "description": "Why it is called."},
                },
                "required": ["name"],
            },
        }},
        "required": ["tools"],
    })
}
