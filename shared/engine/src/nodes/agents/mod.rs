//! Agents: a model calls tools, step by step, until it can answer.
//!
//! | file | what |
//! | --- | --- |
//! | `mode`, `labels`, `xml`, `calling`, `structured` | parsing a model's reply, in four modes |
//! | `stream` | the same while the reply is being streamed |
//! | `turn`, `calls` | the loop of model replies and tool calls |
//! | `conversation`, `summary`, `memory` | the messages sent to the model, their summaries, and what is stored between runs |
//! | `tools`, `fit`, `params`, `observation`, `schemas` | tools: parameters, arguments, results |
//! | `own`, `desk` | tools on the agent's own files and tasks |
//! | `prompts`, `input`, `hooks` | instructions, input, guards |

mod built_in;
mod calling;
mod calls;
mod conversation;
mod fit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hooks;
mod input;
mod json;
mod labels;
mod memory;
mod mode;
mod observation;
mod params;
mod prompts;
mod schemas;
mod stream;
mod structured;
mod summary;
mod tools;
mod turn;
mod workspace;
mod xml;

pub(super) use built_in::{BuiltInNode, BuiltInTool, Work, failed};
pub(super) use workspace::{AgentFile, Workspace};

use super::{Registered, class_of, llms::Model};
use crate::{
    flow::{Call, Halt, Kind, NodeError, NodeSpec, ToolSpec},
    load::{Fields, Loading, spec},
    nodes::tools::{FILE_LIST, FILE_READ, FILE_SEARCH, FILE_WRITE, TODO_WRITE},
};
use async_trait::async_trait;
use hooks::Hooks;
use memory::Memory;
use mode::Mode;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use summary::Summary;
use tools::{Body, Tool};

pub(super) const NODES: &[&Registered] = &[&AGENT];

const AGENT: Registered = Registered {
    class: "agents.Agent",
    name: Some("agent"),
    timeout: Some(Duration::from_hours(1)),
    build: |id, fields, loading| Some(Box::new(Agent::read(id, fields, loading)?)),
};

/// Builds an agent from fields without a `type`.
fn blueprint(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<NodeSpec> {
    spec(id, "dynamiq.nodes.agents.Agent", &AGENT, fields, loading)
}

/// An agent, as configured in the file.
#[derive(Debug)]
struct Agent {
    id: String,
    name: String,
    model: Model,
    /// The model's name in the file, for error messages.
    model_name: String,
    tools: Vec<Tool>,
    /// Tools that are offered if the agent has files.
    file_tools: Vec<Tool>,
    mode: Mode,
    max_loops: u32,
    /// Whether the agent, at `max_loops`, answers from its results so far; else it fails.
    answers_at_limit: bool,
    role: Option<String>,
    instructions: Option<String>,
    /// Template of the user's message.
    message: Option<String>,
    /// The JSON Schema of the answer.
    response_format: Option<Value>,
    delegation: bool,
    /// Whether tools may be called at the same time.
    parallel: bool,
    /// Maximum number of calls at the same time.
    max_parallel: usize,
    shows: Streaming,
    /// Characters of a tool's result that the model gets at most.
    longest_result: Option<usize>,
    memory: Option<Memory>,
    summary: Option<Summary>,
    hooks: Hooks,
}

/// What an agent emits of its model's replies while they are streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    Nothing,
    Answer,
    All,
}

/// Features of the reference's agents that are not supported: enabling one is an error.
const NOT_NATIVE: &[&str] = &["artifacts", "long_term_memory", "memory_store", "sandbox", "skills"];

/// Fields that are accepted and have no effect.
const WITHOUT_EFFECT: &[&str] = &[
    "description",
    "direct_tool_output_enabled",
    "files",
    "format_schema",
    "images",
    "is_files_allowed",
    "sandbox_sharing_scope",
    "share_browser_session_with_subagents",
    "share_sandbox_with_subagents",
    "tool_output_sandbox_persistence",
    "verbose",
    "videos",
];

impl Agent {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        for key in NOT_NATIVE {
            if fields.fields(key).and_then(|part| part.bool("enabled")) == Some(true) {
                fields.mistake(fields.spot(key), format!("`{key}` of an agent does not run here"));
            }
        }
        fields.know(WITHOUT_EFFECT);
        // A node inside an agent gets its messages from the agent, and does not inherit a prompt.
        let loading = &Loading { prompt: None, ..*loading };
        let llm = fields.fields("llm");
        if fields.get("llm").is_none() {
            fields.mistake(fields.yaml.spot, format!("the agent `{id}` lacks its `llm`"));
        }
        let model = llm.and_then(|llm| Model::read(&format!("{id}-llm"), llm, loading));
        let response_format = response_format(fields);
        let tools = fields.items("tools", "a tool");
        let bedrock =
            llm.and_then(|llm| llm.text("type")).and_then(class_of).is_some_and(|c| c == "llms.Bedrock");
        let mode = match fields.choice("inference_mode", mode::WORDS).unwrap_or(Mode::Labels) {
            Mode::Labels | Mode::Xml if response_format.is_some() => Mode::StructuredOutput,
            mode => mode,
        };
        // On Bedrock, an answer with a schema is itself a function call, which cannot be combined with other functions.
        let mode =
            if mode == Mode::StructuredOutput && bedrock && !tools.is_empty() { Mode::Xml } else { mode };
        let max_loops = fields.count("max_loops").unwrap_or(15);
        if max_loops < 2 {
            fields.mistake(fields.spot("max_loops"), "`max_loops` must be at least 2".into());
        }
        let hooks = Hooks::read(fields);
        let parallel = fields.bool("parallel_tool_calls_enabled").unwrap_or(false);
        let summary = Summary::read(fields);
        let mut tools: Vec<Tool> = tools
            .into_iter()
            .enumerate()
            .filter_map(|(index, tool)| Tool::read(id, index, tool, loading))
            .filter(|tool| !parallel || tool.name != tools::PARALLEL)
            .collect();
        if summary.is_some() && !tools.iter().any(|tool| matches!(tool.body, Body::Compact)) {
            tools.push(Tool::compact(None, None));
        }
        let mut file_tools: Vec<Tool> = [FILE_READ, FILE_SEARCH, FILE_LIST].map(Tool::built_in).into();
        if let Some(store) = fields.fields("file_store")
            && store.bool("enabled") == Some(true)
        {
            store.know(&["backend", "config"]);
            if store.bool("todo_enabled") == Some(true) {
                tools.push(Tool::built_in(TODO_WRITE));
            }
            tools.append(&mut file_tools);
            if store.bool("agent_file_write_enabled") == Some(true) {
                tools.push(Tool::built_in(FILE_WRITE));
            }
        }
        tools.retain(|tool| hooks.offer(&tool.called) && hooks.offer(&tool.name));
        if parallel && mode != Mode::FunctionCalling && !tools.is_empty() {
            tools.push(Tool::parallel());
        }
        let behaviors = [("raise", false), ("return", true)];
        let limit = fields.count("tool_output_max_length").unwrap_or(64_000) as usize * 4;
        Some(Self {
            id: id.to_owned(),
            name: fields.text("name").unwrap_or("agent").to_owned(),
            model: model?,
            model_name: llm.and_then(|llm| llm.text("name")).unwrap_or("LLM").to_owned(),
            tools,
            file_tools,
            mode,
            max_loops,
            answers_at_limit: fields.choice("behaviour_on_max_loops", &behaviors).unwrap_or(false),
            role: fields.text("role").map(str::to_owned),
            instructions: fields.text("instructions").map(str::to_owned),
            message: message(fields),
            response_format,
            delegation: fields.bool("delegation_allowed").unwrap_or(false),
            parallel,
            max_parallel: fields.count("max_parallel_tool_calls").unwrap_or(8).max(1) as usize,
            shows: shows(fields),
            longest_result: fields.bool("tool_output_truncate_enabled").unwrap_or(true).then_some(limit),
            memory: Memory::read(fields),
            summary,
            hooks,
        })
    }
}

/// Template of the user's message. Its `role` is ignored: it is always `user`.
fn message(fields: Fields<'_>) -> Option<String> {
    let message = fields.fields("input_message")?;
    message.know(&["metadata", "role", "static"]);
    message.text("content").map(str::to_owned)
}

fn shows(fields: Fields<'_>) -> Streaming {
    let Some(streaming) = fields.fields("streaming") else { return Streaming::Nothing };
    streaming.know(&["fc_wait_for_first_key", "stream_tool_input"]);
    let mode = streaming
        .choice("mode", &[("final", Streaming::Answer), ("all", Streaming::All)])
        .unwrap_or(Streaming::Answer);
    if streaming.bool("enabled") == Some(true) { mode } else { Streaming::Nothing }
}

/// The schema of the answer, without the providers' wrappers.
fn response_format(fields: Fields<'_>) -> Option<Value> {
    let given = fields.json("response_format")?;
    if !given.is_object() {
        fields.mistake(fields.spot("response_format"), "`response_format` must be a JSON Schema".into());
        return None;
    }
    if given["type"] != "json_schema" {
        return Some(given);
    }
    let inner = given.get("json_schema").unwrap_or(&given);
    Some(inner.get("schema").unwrap_or(inner).clone())
}

#[async_trait]
impl Kind for Agent {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        turn::run(self, call, input).await.map(Arc::new)
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        input::admit(input)
    }

    fn offer(&self) -> ToolSpec {
        ToolSpec { description: "An agent.", parameters: tools::agent_parameters(), parallel: false }
    }
}
