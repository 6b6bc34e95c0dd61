//! Calls of tools: checks them, makes them, records their events, and caches their results for repeated calls.

use super::{
    Agent,
    conversation::Observed,
    fit,
    hooks::{GuardRefusal, Point},
    mode::RequestedCall,
    observation::{self, Form},
    params::ToolParams,
    tools::{Body, Tool, called},
    turn::Stop,
    workspace::Workspace,
};
use crate::{
    flow::{Approved, Call, Halt, Node, NodeError, ToolCalled, hidden, run_tool},
    python_text,
    services::BUDGET_EXCEEDED,
    transform::{Data, is_falsy},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt, future::BoxFuture, stream};
use runyard_runs::{EventBody, FieldErrors, Recorded, RunError, ToolCall, ToolRef};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};
use uuid::Uuid;

/// The calls of one execution of an agent.
pub(super) struct Calls<'a> {
    agent: &'a Agent,
    call: Call<'a>,
    tools: Vec<&'a Tool>,
    input: &'a Map<String, Value>,
    params: ToolParams,
    desk: Mutex<Workspace>,
    /// Results of tools, by name and input.
    cached: HashMap<String, String>,
    /// Number of successful calls, by tool name.
    counts: HashMap<&'a str, u32>,
    /// Number of all calls, by tool name.
    tries: HashMap<&'a str, u32>,
}

/// Why none of the calls was made.
pub(super) struct CallLimitExceeded(pub(super) String);

/// A completed call.
pub(super) struct CompletedCall {
    pub(super) result: Observed,
    /// Whether its result is the agent's answer.
    pub(super) delegated: bool,
    /// The key under which its result is cached, if it is.
    cache_key: Option<String>,
    /// Whether its result is an earlier call's.
    is_cached: bool,
}

impl CompletedCall {
    fn failed(wanted: &RequestedCall, text: String) -> Self {
        Self { result: observed(wanted, text, false), delegated: false, cache_key: None, is_cached: false }
    }
}

/// One call, and its position in the loop.
#[derive(Clone, Copy)]
struct Position<'w> {
    iteration: u32,
    number: usize,
    wanted: &'w RequestedCall,
    /// Whether other calls are made at the same time.
    concurrent: bool,
}

impl<'a> Calls<'a> {
    pub(super) fn new(
        agent: &'a Agent,
        call: Call<'a>,
        tools: Vec<&'a Tool>,
        input: &'a Map<String, Value>,
        params: ToolParams,
        desk: Workspace,
    ) -> Self {
        Self {
            agent,
            call,
            tools,
            input,
            params,
            desk: Mutex::new(desk),
            cached: HashMap::new(),
            counts: HashMap::new(),
            tries: HashMap::new(),
        }
    }

    /// The tool with this name; if there are several, the last.
    pub(super) fn tool(&self, name: &str) -> Option<&'a Tool> {
        let name = called(name);
        self.tools.iter().rev().find(|tool| tool.called == name).copied()
    }

    fn desk(&self) -> MutexGuard<'_, Workspace> {
        Workspace::lock(&self.desk)
    }

    /// Checks the calls against `max_calls` of the tools that are agents.
    pub(super) fn check_limits(&self, wanted: &[RequestedCall]) -> Result<(), CallLimitExceeded> {
        let mut exceeded = Vec::new();
        for tool in &self.tools {
            let Body::Agent { max_calls: Some(limit), .. } = tool.body else { continue };
            let wants = wanted.iter().filter(|wanted| called(&wanted.name) == tool.called).count();
            let used = self.counts.get(tool.called.as_str()).copied().unwrap_or(0);
            let left = limit.saturating_sub(used);
            if wants > left as usize {
                exceeded.push(format!(
                    "'{}' needs {wants} call(s), but {left} are left (limit: {limit}, used: {used})",
                    tool.name
                ));
            }
        }
        if exceeded.is_empty() {
            return Ok(());
        }
        Err(CallLimitExceeded(format!(
            "None of these calls was made: an agent may not be called that often. {}. Use other tools, or answer with what \
             you have.",
            exceeded.join("; ")
        )))
    }

    /// Makes the calls: first those that may run at the same time, then the others one after another. Returns all
    /// results in the order of the calls.
    pub(super) async fn make(
        &mut self,
        iteration: u32,
        wanted: &[RequestedCall],
    ) -> Result<Vec<CompletedCall>, Stop> {
        let _stay = self.call.rests.holds();
        let mut made: Vec<Option<CompletedCall>> = wanted.iter().map(|_| None).collect();
        let several = wanted.len() > 1;
        let position =
            |number: usize, concurrent| Position { iteration, number, wanted: &wanted[number], concurrent };
        let mut together = Vec::new();
        let mut after = Vec::new();
        for (number, wanted) in wanted.iter().enumerate() {
            let tool = self.tool(&wanted.name);
            if several && tool.is_some_and(|tool| self.delegates(tool, &wanted.input)) {
                made[number] = Some(Self::refused(wanted));
            } else if several && self.agent.parallel && tool.is_some_and(|tool| tool.parallel) {
                together.push(number);
            } else {
                after.push(number);
            }
        }
        let concurrent = together.len() > 1;
        let mut halts = Vec::new();
        {
            let calls: Vec<_> =
                together.iter().map(|number| self.one(position(*number, concurrent))).collect();
            let mut calls = stream::iter(calls).buffered(self.agent.max_parallel);
            for number in &together {
                match calls.next().await {
                    Some(Ok(one)) => made[*number] = Some(one),
                    // The other calls go on, so that they need not be repeated when this one resumes.
                    Some(Err(halt)) => halts.push(halt),
                    None => {}
                }
            }
        }
        if let Some(halt) = decisive(halts) {
            return Err(halt);
        }
        for number in &together {
            if let Some(one) = &made[*number] {
                self.keep(&wanted[*number], one);
            }
        }
        for number in after {
            let one = self.one(position(number, false)).await?;
            self.keep(&wanted[number], &one);
            made[number] = Some(one);
        }
        Ok(made.into_iter().flatten().collect())
    }

    /// Counts a call, and caches its result. Calls that are made at the same time do not see each other's results: in a
    /// replay they may end in another order, and must still take the same path.
    fn keep(&mut self, wanted: &RequestedCall, made: &CompletedCall) {
        let Some(tool) = self.tool(&wanted.name) else { return };
        if !made.is_cached {
            *self.tries.entry(&tool.called).or_default() += 1;
        }
        if let Some(cache_key) = &made.cache_key {
            self.cached.insert(cache_key.clone(), made.result.text.clone());
            *self.counts.entry(&tool.called).or_default() += 1;
        }
    }

    fn refused(wanted: &RequestedCall) -> CompletedCall {
        let text = format!(
            "'{}' was not called: with `delegate_final` its answer is yours, so it cannot go with other calls. Call it \
             alone, or without `delegate_final`.",
            wanted.name
        );
        CompletedCall::failed(wanted, text)
    }

    /// Whether the tool's answer becomes the agent's.
    fn delegates(&self, tool: &Tool, input: &Value) -> bool {
        self.agent.delegation
            && matches!(tool.body, Body::Agent { .. })
            && input.get("delegate_final").is_some_and(|flag| !is_falsy(flag))
    }

    fn one<'c>(&'c self, position: Position<'c>) -> BoxFuture<'c, Result<CompletedCall, Stop>> {
        Box::pin(self.make_one(position))
    }

    /// Makes one call and records its events.
    async fn make_one(&self, position: Position<'_>) -> Result<CompletedCall, Stop> {
        let Position { iteration, number, wanted, .. } = position;
        let run = self.call.run;
        let key = format!("{}/loop/{iteration}/tool/{number}", self.call.key);
        let tool = self.tool(&wanted.name);
        let mut call = ToolCall {
            id: Uuid::new_v5(&run.new_run().id.0, key.as_bytes()).to_string(),
            input: wanted.input.clone(),
            iteration,
            tool: tool.map_or_else(
                || ToolRef { name: wanted.name.clone(), kind: "unknown".into() },
                |tool| tool.reference.clone(),
            ),
        };
        let end = format!("{key}/ended");
        if let Some(Recorded { body: EventBody::AgentToolCallFailed { error, .. }, journal }) =
            run.recorded(&end)
            && journal["handled"] == true
        {
            return Ok(CompletedCall::failed(wanted, error.message));
        }
        let started = |call: ToolCall| {
            run.record(&format!("{key}/started"), EventBody::AgentToolCallStarted { call }, None);
        };
        // A call that needs approval starts when it is approved, with the approved input.
        let decided = OnceLock::new();
        let approved = |approved: &Approved| {
            let input = Value::Object(hidden(self.call, approved.params.clone()));
            started(ToolCall { input: input.clone(), ..call.clone() });
            let note = approved.note().map(|note| self.call.services.secrets.hide_in_content(note));
            let _ = decided.set((input, note));
        };
        if !tool.is_some_and(Tool::asks) {
            started(call.clone());
        }
        let ended = if let Some(tool) = tool {
            self.call_tool(position, tool, &approved).await
        } else {
            let text = format!(
                "Unknown tool: {}. Call one of the tools that you have, by its name and nothing else, or answer \
                     without it.",
                wanted.name
            );
            Err(Failed::Observed(text))
        };
        let mut note = None;
        if let Some((input, changed)) = decided.into_inner() {
            call.input = input;
            note = changed;
        }
        let with_note = |text: String| match &note {
            Some(note) => format!("{note}\n{text}"),
            None => text,
        };
        let failed = |message: &str| EventBody::AgentToolCallFailed {
            call: call.clone(),
            error: RunError::new("tool_failed", message),
        };
        let secrets = &self.call.services.secrets;
        let ended = ended.map_err(|failed| match failed {
            Failed::Observed(text) => Failed::Observed(secrets.hide_in_text(text)),
            Failed::Stop(Stop::Halt(halt)) => Failed::Stop(Stop::Halt(secrets.hide_in_halt(halt))),
            stopped @ Failed::Stop(_) => stopped,
        });
        match ended {
            Ok(mut made) => {
                if !made.delegated {
                    made.result.text = with_note(made.result.text);
                }
                let result = Value::from(made.result.text.as_str());
                run.record(&end, EventBody::AgentToolCallCompleted { call: call.clone(), result }, None);
                Ok(made)
            }
            Err(Failed::Observed(text)) => {
                let text = with_note(text);
                // The model went on from this result, so a retry of the run keeps it.
                run.record(&end, failed(&text), Some(json!({"handled": true})));
                Ok(CompletedCall::failed(wanted, text))
            }
            Err(Failed::Stop(stop)) => {
                match &stop {
                    Stop::Halt(Halt::Failed(error)) => run.record(&end, failed(&error.message), None),
                    Stop::GuardRefusal(_) => run.record(&end, failed("refused by a guard"), None),
                    Stop::Halt(_) => {}
                }
                Err(stop)
            }
        }
    }

    /// Makes a call of a known tool.
    async fn call_tool(
        &self,
        position: Position<'_>,
        tool: &'a Tool,
        approved: &(dyn Fn(&Approved) + Send + Sync),
    ) -> Result<CompletedCall, Failed> {
        let Position { wanted, concurrent, .. } = position;
        self.allow(tool)?;
        // Results are cached by the tool's own name and looked up by the name that the model wrote, as in the
        // reference: a tool whose name had to be changed for the model never has a cached result.
        if !tool.asks()
            && let Some(text) = self.cached.get(&cache_key(&wanted.name, &wanted.input))
        {
            let delegated = self.delegates(tool, &wanted.input);
            let result = observed(wanted, text.clone(), true);
            return Ok(CompletedCall { result, delegated, cache_key: None, is_cached: true });
        }
        let (input, delegated) = self.arguments(tool, &wanted.input).await?;
        let output =
            self.run(position, tool, input, approved).await.map_err(|halt| tool_failed(tool, halt))?;
        let form = match &tool.body {
            Body::Node { class, .. } if class == "tools.Python" => Form::Printed,
            Body::Node { class, .. } if class == "tools.HttpApiCall" && concurrent => Form::Compact,
            _ => Form::Indented,
        };
        let limit = self.agent.longest_result.filter(|_| !delegated);
        let text = observation::text(output.get("content").unwrap_or(&Value::Null), form, limit);
        let hooks = &self.agent.hooks;
        let text = hooks.guard_text(self.call.run, Point::ToolResult, &tool.called, text).await?;
        let cache_key = Some(cache_key(&tool.name, &wanted.input));
        Ok(CompletedCall { result: observed(wanted, text, true), delegated, cache_key, is_cached: false })
    }

    fn allow(&self, tool: &Tool) -> Result<(), GuardRefusal> {
        self.agent.hooks.allow_call(&tool.called, |applies_to| {
            self.tries.iter().filter(|(name, _)| applies_to(name)).map(|(_, count)| count).sum()
        })
    }

    /// The tool's input: what the model wrote, what the file selects, and what the caller sets. Also returns whether
    /// the tool's answer becomes the agent's.
    async fn arguments(&self, tool: &Tool, wanted: &Value) -> Result<(Map<String, Value>, bool), Failed> {
        let mut input = match wanted {
            Value::Object(input) => input.clone(),
            other => Map::from_iter([("input".to_owned(), other.clone())]),
        };
        let delegated = self.delegates(tool, wanted);
        if matches!(tool.body, Body::Agent { .. }) {
            // A model must not choose whose memories another agent uses.
            input.retain(|key, _| !matches!(key.as_str(), "user_id" | "session_id"));
        }
        if matches!(tool.body, Body::Agent { .. }) || !self.agent.delegation {
            input.shift_remove("delegate_final");
        }
        if !tool.selected.is_identity() {
            let source = Value::Object(self.input.clone());
            match tool.selected.compute(self.call.run, Data::Json(&source)).await {
                Ok(Value::Object(selected)) => {
                    input.extend(selected.into_iter().filter(|(_, value)| !value.is_null()));
                }
                Ok(_) => {}
                Err(error) => {
                    let error = self.call.services.secrets.hide_in_text(error.message);
                    tracing::warn!(tool = %tool.name, error, "input_transformer of a tool failed");
                }
            }
        }
        self.params.apply(tool, &mut input);
        if let Body::Agent { node, .. } = &tool.body {
            self.context(node, &mut input);
        }
        fit::fit(&mut input, &tool.parameters);
        if let Some(schema) = &tool.schema {
            let mut errors = FieldErrors::new();
            schema.check(&Value::Object(input.clone()), &mut errors);
            if !errors.is_empty() {
                let errors: Vec<String> =
                    errors.iter().map(|(field, problem)| format!("{field} {problem}")).collect();
                return Err(invalid(tool, &errors.join("; ")));
            }
        }
        if tool.takes_files()
            && let Some(Value::Object(files)) = input.get_mut("files")
        {
            let desk = self.desk();
            for file in files.values_mut() {
                if let Some((path, stored)) = file.as_str().and_then(|path| Some((path, desk.get(path)?))) {
                    *file = match stored.text() {
                        Some(text) => json!({"name": path, "content": text}),
                        None => json!({"name": path, "base64": BASE64_STANDARD.encode(&stored.content)}),
                    };
                }
            }
        }
        Ok((input, delegated))
    }

    /// Adds the context of another agent to its input: user and session ids, so that it has memories of its own, and
    /// the files that are passed to it.
    fn context(&self, node: &Node, input: &mut Map<String, Value>) {
        let name = called(node.name.as_deref().unwrap_or(&node.id));
        for key in ["user_id", "session_id"] {
            if let Some(own) = self.input.get(key).and_then(Value::as_str).filter(|own| !own.is_empty()) {
                input.entry(key).or_insert_with(|| format!("{own}:{name}").into());
            }
        }
        if let Some(metadata) = self.input.get("metadata").filter(|metadata| !is_falsy(metadata)) {
            input.entry("metadata").or_insert_with(|| metadata.clone());
        }
        let desk = self.desk();
        let file_input = |path: &str| {
            let file = desk.get(path)?;
            Some(json!({"name": path, "content": file.text()?, "mime_type": file.mime_type}))
        };
        let files: Vec<Value> = match input.get("files") {
            Some(Value::Array(paths)) => paths
                .iter()
                .map(|path| path.as_str().and_then(file_input).unwrap_or_else(|| path.clone()))
                .collect(),
            _ => desk.files().filter_map(|(path, _)| file_input(path)).collect(),
        };
        if !files.is_empty() {
            input.insert("files".into(), files.into());
        }
    }

    async fn run(
        &self,
        position: Position<'_>,
        tool: &Tool,
        input: Map<String, Value>,
        approved: &(dyn Fn(&Approved) + Send + Sync),
    ) -> Result<Arc<Value>, Halt> {
        let called = |listed| ToolCalled { parameters: &tool.parameters, listed, approved };
        match &tool.body {
            Body::Node { node, .. } | Body::Agent { node, .. } => {
                let input = Value::Object(input);
                node.kind
                    .admit(Arc::new(input.clone()))
                    .map_err(|error| NodeError { recoverable: true, ..invalid_input(&error.message) })?;
                let within = format!("loop/{}/tool/{}", position.iteration, position.number);
                run_tool(self.call, node, &within, &input, called(None)).await
            }
            Body::Listed { node, tool } => {
                let within = format!("loop/{}/tool/{}", position.iteration, position.number);
                let input = json!({"tool": tool, "arguments": input});
                run_tool(self.call, node, &within, &input, called(Some(tool))).await
            }
            Body::BuiltInTool(own) => Ok(Arc::new(own.run(self.call.run, &self.desk, &input).await?)),
            Body::Server { .. } | Body::Parallel | Body::Compact => {
                let message = format!("'{}' cannot be called by another tool", tool.name);
                Err(super::failed(message).into())
            }
        }
    }

    /// The paths of files from a comma-separated list; an error has the missing ones. A path that does not exist is
    /// also looked up by its last part.
    pub(super) fn find_files(&self, list: &str) -> Result<Vec<String>, Vec<String>> {
        let desk = self.desk();
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for path in list.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            let last = path.rsplit('/').next().unwrap_or(path);
            match [path, last].into_iter().find(|path| desk.get(path).is_some()) {
                Some(path) => found.push(path.to_owned()),
                None => missing.push(path.to_owned()),
            }
        }
        // Paths named by an agent without files are ignored: its answer is still valid.
        if missing.is_empty() || desk.files().next().is_none() { Ok(found) } else { Err(missing) }
    }

    /// The files, in the format of a node's output.
    pub(super) fn give_files(&self, paths: &[String]) -> Value {
        let desk = self.desk();
        let give = |path: &String| {
            let file = desk.get(path)?;
            let size = file.content.len();
            Some(json!({"name": path, "mime_type": file.mime_type, "size": size, "content": file.text()}))
        };
        paths.iter().filter_map(give).collect()
    }
}

/// Why a call has no result.
enum Failed {
    /// The model gets this text as the result, and goes on.
    Observed(String),
    Stop(Stop),
}

impl From<GuardRefusal> for Failed {
    fn from(refused: GuardRefusal) -> Self {
        match refused {
            GuardRefusal::Observation(message) => Self::Observed(message),
            refused => Self::Stop(Stop::GuardRefusal(refused)),
        }
    }
}

/// Decides whether a tool's failure is shown to the model or stops the agent.
fn tool_failed(tool: &Tool, halt: Halt) -> Failed {
    let Halt::Failed(error) = halt else { return Failed::Stop(halt.into()) };
    if error.kind == BUDGET_EXCEEDED {
        return Failed::Stop(error.into());
    }
    let message = format!("Tool '{}' failed: {}", tool.name, python_text::repr(&error.to_json()));
    if error.recoverable {
        return Failed::Observed(format!("ToolExecutionException: {message}"));
    }
    Failed::Stop(NodeError::new("ValueError", message).into())
}

fn invalid(tool: &Tool, problem: &str) -> Failed {
    tool_failed(tool, NodeError { recoverable: true, ..invalid_input(problem) }.into())
}

fn invalid_input(problem: &str) -> NodeError {
    NodeError::new("RecoverableAgentException", format!("Input data validation failed: {problem}"))
}

fn observed(wanted: &RequestedCall, text: String, success: bool) -> Observed {
    Observed { name: wanted.name.clone(), id: wanted.id.clone(), text, success }
}

/// The halt that takes precedence: a stop, then a failure, then a refusal, then a suspension.
fn decisive(halts: Vec<Stop>) -> Option<Stop> {
    halts.into_iter().max_by_key(|halt| match halt {
        Stop::Halt(Halt::Suspended) => 0,
        Stop::GuardRefusal(_) => 1,
        Stop::Halt(Halt::Failed(_)) => 2,
        Stop::Halt(Halt::Stopped) => 3,
    })
}

/// A tool's name with its input, whose keys are sorted.
fn cache_key(name: &str, input: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut members: Vec<(&String, &Value)> = map.iter().collect();
                members.sort_by_key(|(key, _)| *key);
                members.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    format!("{name}\0{}", sorted(input))
}
