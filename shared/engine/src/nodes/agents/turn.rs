//! One execution of an agent: a loop of model replies and tool calls, until there is an answer.
//!
//! Every reply of the model is journaled under `{node}/loop/{n}/llm` before it is used, and every tool call under
//! `{node}/loop/{n}/tool/{m}`. All other state follows from them: a replay repeats the loop, and only makes the
//! requests and calls that have no journaled result.

use super::{
    Agent, Streaming,
    calls::{CallLimitExceeded, Calls},
    conversation::{self, Conversation, Observed},
    hooks::{GuardRefusal, Point},
    input, json, memory,
    mode::{Answer, InvalidReply, Mode, ReplyStep, RequestedCall},
    params::ToolParams,
    prompts, schemas,
    stream::{Delta, Watch},
    tools::{Body, Tool},
    workspace::Workspace,
    xml,
};
use crate::{
    flow::{Call, Halt, NodeError},
    llm::{Piece, Reply},
    nodes::llms::Ask,
    services::BUDGET_EXCEEDED,
};
use runyard_runs::{EventBody, MemoryScope};
use serde_json::{Map, Value, json};
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

/// Executes an agent on an input that was checked by [`input::admit`].
pub(super) async fn run(agent: &Agent, call: Call<'_>, input: &Arc<Value>) -> Result<Value, Halt> {
    let empty = Map::new();
    let given = input.as_object().unwrap_or(&empty);
    let scope = scope(agent, call, given);
    let remembered = match (&agent.memory, &scope) {
        (Some(memory), Some(scope)) => memory.recall(call, scope).await?,
        _ => Vec::new(),
    };
    let text = input::message(call.run, agent.message.as_deref(), given).await?;
    let text = match agent.hooks.guard_text(call.run, Point::Input, "", text).await {
        Ok(text) => text,
        Err(refused) => return ended(agent, call, refused),
    };
    let mut desk = Workspace::default();
    let user = input::with_files(call.run, &mut desk, text, given).await?;
    let mut listed = Vec::new();
    for server in &agent.tools {
        listed.extend(server.of_server(call).await?);
    }
    let mut turn = Turn::new(agent, call, &listed, given, desk, remembered, &user);
    let answer = turn.steps().await;
    let shown = match answer {
        Ok(answer) => agent.hooks.guard(call.run, Point::Output, "", answer).await,
        Err(Stop::GuardRefusal(refused)) => Err(refused),
        Err(Stop::Halt(Halt::Failed(error))) => {
            if let (Some(memory), Some(scope)) = (&agent.memory, &scope) {
                memory.keep(call, scope, turn.talk.own(), None, false).await;
            }
            return Err(error.into());
        }
        Err(Stop::Halt(halt)) => return Err(halt),
    };
    let output = match shown {
        Ok(answer) => {
            if !turn.answered || agent.hooks.guard_output() {
                show_answer(agent, call, &answer, turn.iteration);
            }
            let mut output = json!({"content": answer, "blocked": false});
            if let Some(files) = turn.files() {
                output["files"] = files;
            }
            output
        }
        Err(refused) => ended(agent, call, refused)?,
    };
    if let (Some(memory), Some(scope)) = (&agent.memory, &scope) {
        let guarded = agent.hooks.guard_output();
        memory.keep(call, scope, turn.talk.own(), Some(&output["content"]), guarded).await;
    }
    Ok(output)
}

/// The scope of the memory; `None` if no trusted source names a user or session.
fn scope(agent: &Agent, call: Call<'_>, input: &Map<String, Value>) -> Option<MemoryScope> {
    let new = call.run.new_run();
    let (user_id, session_id) = memory::whose(new, input)?;
    Some(MemoryScope { app: new.app, agent: agent.id.clone(), user_id, session_id })
}

/// The output of an agent that a guard stopped.
fn ended(agent: &Agent, call: Call<'_>, refused: GuardRefusal) -> Result<Value, Halt> {
    match refused {
        GuardRefusal::Observation(message) => Ok(json!({"content": message, "blocked": true})),
        GuardRefusal::Answer { message, hook } => {
            let answer = Value::from(message);
            show_answer(agent, call, &answer, 1);
            Ok(json!({"content": answer, "blocked": true, "blocked_by": hook}))
        }
        GuardRefusal::Failed(error) => Err(error.into()),
    }
}

/// Emits an answer that was not streamed. Recorded, so that it is emitted once even if the run is executed again.
fn show_answer(agent: &Agent, call: Call<'_>, answer: &Value, iteration: u32) {
    if agent.shows == Streaming::Nothing {
        return;
    }
    let delta = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
    let body = EventBody::AgentAnswerDelta { delta, iteration };
    call.run.record(&format!("{}/answer", call.key), body, None);
}

/// Why the loop ended without an answer.
pub(super) enum Stop {
    Halt(Halt),
    GuardRefusal(GuardRefusal),
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<NodeError> for Stop {
    fn from(error: NodeError) -> Self {
        Self::Halt(error.into())
    }
}

/// The state of one execution of an agent.
struct Turn<'a> {
    agent: &'a Agent,
    call: Call<'a>,
    calls: Calls<'a>,
    talk: Conversation,
    functions: Vec<Value>,
    format: Option<Value>,
    iteration: u32,
    /// Whether the answer was streamed, now or by an earlier execution of the run.
    answered: bool,
    /// Paths of the files that are returned with the answer.
    returned: Vec<String>,
}

impl<'a> Turn<'a> {
    fn new(
        agent: &'a Agent,
        call: Call<'a>,
        listed: &'a [Tool],
        input: &'a Map<String, Value>,
        desk: Workspace,
        remembered: Vec<Value>,
        user: &Value,
    ) -> Self {
        let has_files = desk.files().next().is_some();
        let file_tools = agent.file_tools.iter().filter(|_| has_files);
        let is_tool =
            |tool: &&Tool| !matches!(tool.body, Body::Server { .. }) && agent.hooks.offer(&tool.called);
        let tools: Vec<&Tool> = agent.tools.iter().chain(listed).chain(file_tools).filter(is_tool).collect();
        let functions = match agent.mode {
            Mode::FunctionCalling => {
                schemas::functions(tools.iter().copied(), agent.response_format.as_ref(), agent.delegation)
            }
            _ => Vec::new(),
        };
        let format = (agent.mode == Mode::StructuredOutput)
            .then(|| schemas::step(tools.iter().copied(), agent.delegation));
        let created = call.run.new_run().created_at.to_string();
        let system = prompts::system(agent, &tools, created.split('T').next().unwrap_or_default());
        let params = ToolParams::read(&input["tool_params"]).unwrap_or_default();
        Self {
            agent,
            call,
            calls: Calls::new(agent, call, tools, input, params, desk),
            talk: Conversation::new(agent.mode, &system, remembered, user),
            functions,
            format,
            iteration: 0,
            answered: false,
            returned: Vec::new(),
        }
    }

    /// Executes the loop, and returns the answer.
    async fn steps(&mut self) -> Result<Value, Stop> {
        for iteration in 1..=self.agent.max_loops {
            self.iteration = iteration;
            let reply = self.ask().await?;
            self.talk.said(&reply, iteration);
            let done = match self.agent.mode.parse(&reply) {
                Ok(ReplyStep::Answer(answer)) => self.finish(answer),
                Ok(ReplyStep::Call(wanted)) if prompts::is_parallel(&wanted.name) => {
                    self.several(&wanted).await?
                }
                Ok(ReplyStep::Call(wanted)) => Ok(self.one(&wanted).await?),
                Ok(ReplyStep::Calls(wanted)) => Ok(self.all(wanted).await?),
                Err(unparsed) => Err(unparsed),
            };
            match done {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => self.shorten().await?,
                Err(unparsed) => self.talk.correct(&unparsed),
            }
        }
        if self.agent.answers_at_limit {
            return self.last_answer().await;
        }
        let Agent { name, id, max_loops, .. } = self.agent;
        let message = format!(
            "Agent {name} (ID: {id}) has reached the maximum loop limit of {max_loops} without a final answer. Last \
             response: {}",
            self.talk.last()
        );
        Err(NodeError { recoverable: true, ..NodeError::new("MaxLoopsExceededException", message) }.into())
    }

    /// The model's reply in this iteration, which is streamed if the agent's settings say so.
    async fn ask(&mut self) -> Result<Reply, Stop> {
        let Self { agent, call, iteration, .. } = *self;
        let calls_functions = agent.mode == Mode::FunctionCalling;
        let ask = Ask {
            messages: self.talk.messages().to_vec(),
            tools: self.functions.clone(),
            tool_choice: calls_functions.then(|| "required".into()),
            parallel_tool_calls: (calls_functions && agent.parallel).then_some(true),
            response_format: self.format.clone(),
            stream: agent.shows != Streaming::Nothing,
            ..asks(agent.mode)
        };
        let key = format!("{}/loop/{iteration}/llm", call.key);
        let watch = Mutex::new(Watch::new(agent.mode));
        let shown = call.run.recorded(&key).is_some();
        let lock = || watch.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |deltas: Vec<Delta>| {
            for delta in deltas {
                show(agent, call, delta, iteration);
            }
        };
        let reply = agent.model.ask(call, &key, &ask, &|piece: Piece<'_>| show(lock().feed(&piece))).await;
        let mut reply = reply.map_err(|halt| self.llm_failed(halt))?;
        if agent.shows != Streaming::Nothing {
            show(lock().end());
            self.answered = shown || lock().answered();
        }
        reply.tool_calls = conversation::with_ids(&reply.tool_calls, iteration);
        Ok(reply)
    }

    fn llm_failed(&self, halt: Halt) -> Halt {
        match halt {
            Halt::Failed(error) if error.kind != BUDGET_EXCEEDED => {
                let message = format!("LLM '{}' failed: {}", self.agent.model_name, error.message);
                NodeError::new("ValueError", message).into()
            }
            other => other,
        }
    }

    /// Checks the files and the form of an answer, and returns it.
    fn finish(&mut self, answer: Answer) -> Result<Option<Value>, InvalidReply> {
        self.returned = self.calls.find_files(&answer.files).map_err(|missing| InvalidReply {
            problem: format!("these files do not exist: {}", missing.join(", ")),
            advice: Some("Write the file first or correct its path, then answer again."),
        })?;
        self.formatted(answer.content).map(Some)
    }

    /// The answer; if it has a schema, parsed as JSON.
    fn formatted(&self, answer: Value) -> Result<Value, InvalidReply> {
        if self.agent.response_format.is_none() {
            return Ok(answer);
        }
        let read = match answer {
            Value::String(text) => serde_json::from_str(&text)
                .ok()
                .or_else(|| serde_json::from_str(json::bracketed(&text)?).ok())
                .unwrap_or_default(),
            other => other,
        };
        match read {
            read @ (Value::Object(_) | Value::Array(_)) => Ok(read),
            _ => Err(InvalidReply {
                problem: "the answer is not a JSON document that fits the schema".into(),
                advice: Some(
                    "Answer again with the JSON document alone, as the schema has it: no prose, no fence.",
                ),
            }),
        }
    }

    /// Makes one call. Returns an answer if the tool's answer becomes the agent's.
    async fn one(&mut self, wanted: &RequestedCall) -> Result<Option<Value>, Stop> {
        if let Some(Body::Compact) = self.calls.tool(&wanted.name).map(|tool| &tool.body) {
            let result = self.compact(wanted, 0).await?;
            self.talk.observe(&result);
            return Ok(None);
        }
        if let Err(CallLimitExceeded(why)) = self.calls.check_limits(std::slice::from_ref(wanted)) {
            self.talk.refuse(&why);
            return Ok(None);
        }
        let mut made = self.calls.make(self.iteration, std::slice::from_ref(wanted)).await?;
        let Some(made) = made.pop() else { return Ok(None) };
        if made.delegated {
            return Ok(self.delegated(made.result.text));
        }
        self.talk.observe(&made.result);
        Ok(None)
    }

    /// Makes the calls that are the input of the tool `run-parallel`.
    async fn several(&mut self, wanted: &RequestedCall) -> Result<Result<Option<Value>, InvalidReply>, Stop> {
        match several(&wanted.input) {
            Ok(wanted) => Ok(Ok(self.all(wanted).await?)),
            Err(why) => {
                self.talk.refuse(&format!("Invalid parallel tool input: {why}"));
                Ok(Ok(None))
            }
        }
    }

    /// Makes several calls.
    async fn all(&mut self, wanted: Vec<RequestedCall>) -> Result<Option<Value>, Stop> {
        // A summary is made alone: other calls would add to the conversation.
        let is_compact = |wanted: &RequestedCall| {
            matches!(self.calls.tool(&wanted.name).map(|tool| &tool.body), Some(Body::Compact))
        };
        if let Some(index) = wanted.iter().position(is_compact) {
            let others: Vec<&str> =
                wanted.iter().filter(|w| !is_compact(w)).map(|w| w.name.as_str()).collect();
            let others = others.join(", ");
            let mut result = self.compact(&wanted[index], index).await?;
            result.text = format!(
                "{}\n\n[Not called, as the conversation is summarised alone: {others}. Call them again if you need them.]",
                result.text
            );
            self.talk.observe(&Observed { id: None, ..result });
            return Ok(None);
        }
        if let Err(CallLimitExceeded(why)) = self.calls.check_limits(&wanted) {
            self.talk.refuse(&why);
            return Ok(None);
        }
        let made = self.calls.make(self.iteration, &wanted).await?;
        if let Some(made) = made.iter().find(|made| made.delegated) {
            return Ok(self.delegated(made.result.text.clone()));
        }
        let results: Vec<Observed> = made.into_iter().map(|made| made.result).collect();
        self.talk.observe_all(&results);
        Ok(None)
    }

    /// Uses another agent's answer as this agent's answer.
    fn delegated(&mut self, text: String) -> Option<Value> {
        self.answered = false;
        match self.formatted(text.into()) {
            Ok(answer) => Some(answer),
            Err(unparsed) => {
                self.talk.correct(&unparsed);
                None
            }
        }
    }

    /// Summarises the conversation, either because the model called the tool or because the conversation is too long.
    async fn compact(&mut self, wanted: &RequestedCall, number: usize) -> Result<Observed, Stop> {
        let Self { agent, call, iteration, .. } = *self;
        let result = |text: &str, success| Observed {
            name: wanted.name.clone(),
            id: wanted.id.clone(),
            text: text.to_owned(),
            success,
        };
        let Some(summary) = &agent.summary else {
            return Ok(result("Nothing was summarised: it is not enabled for this agent.", false));
        };
        let mut kept = self.talk.newest(summary.kept());
        if kept <= 1 && summary.is_too_long(self.talk.tokens(0)) {
            kept = self.talk.messages().len();
        }
        if kept <= 1 {
            return Ok(result("Nothing was summarised: the conversation is short enough.", true));
        }
        let key = format!("{}/loop/{iteration}/summary/{number}", call.key);
        let old = &self.talk.messages()[1..kept];
        let (count, asked) = (old.len(), old.first().map(conversation::text).unwrap_or_default().to_owned());
        let mut text = summary
            .of(call, &agent.model, &key, old, &asks(agent.mode))
            .await
            .map_err(|halt| self.llm_failed(halt))?;
        if let Some(notes) = wanted.input["notes"].as_str().filter(|notes| !notes.is_empty()) {
            text = format!("Notes: {notes}\n\n{text}");
        }
        text = format!(
            "{text}\n\nThe request, for reference (go on from the state above, do not start over): {asked}"
        );
        self.talk.compact(&text, kept);
        Ok(result(&format!("The conversation was summarised ({count} messages)."), true))
    }

    /// Summarises the conversation if it has become too long.
    async fn shorten(&mut self) -> Result<(), Stop> {
        let Some(summary) = &self.agent.summary else { return Ok(()) };
        let schemas: usize =
            self.functions.iter().chain(&self.format).map(|schema| schema.to_string().len() / 4).sum();
        if summary.is_too_long(self.talk.tokens(0) + schemas) {
            let wanted = RequestedCall { input: json!({}), ..RequestedCall::default() };
            let result = self.compact(&wanted, usize::from(u16::MAX)).await?;
            self.talk.observe(&result);
        }
        Ok(())
    }

    /// Asks the model to answer from the results so far, after the last step.
    async fn last_answer(&mut self) -> Result<Value, Stop> {
        let Self { agent, call, .. } = *self;
        let messages = self.talk.messages();
        let user = self.talk.own().first().cloned().unwrap_or_default();
        let record: Vec<String> = messages
            .iter()
            .filter(|message| message["role"] != "system")
            .map(|message| {
                let label = if message["role"] == "assistant" { "Step" } else { "Result" };
                let mut step = format!("{label}:\n{}", conversation::text(message));
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    let _ = write!(step, "\n{}", call["function"]);
                }
                step
            })
            .collect();
        let ask = Ask {
            messages: vec![
                json!({"role": "system", "content": prompts::last(agent.response_format.as_ref())}),
                user,
                json!({"role": "user", "content": record.join("\n\n")}),
            ],
            ..asks(agent.mode)
        };
        let key = format!("{}/loop/last/llm", call.key);
        let reply = agent.model.ask(call, &key, &ask, &|_| {}).await.map_err(|halt| self.llm_failed(halt))?;
        let text = reply.content.unwrap_or_default();
        let files = xml::first(&text, "output_files").unwrap_or_default();
        // Wrong paths are ignored: no step is left to correct them.
        self.returned = self.calls.find_files(&files).unwrap_or_default();
        self.answered = false;
        let answer = xml::first(&text, "answer").unwrap_or(text);
        let answer = if answer.trim().is_empty() { String::new() } else { answer };
        self.formatted(answer.into()).map_err(|unparsed| {
            NodeError { recoverable: true, ..NodeError::new("ParsingError", unparsed.problem) }.into()
        })
    }

    /// The files that are returned with the answer.
    fn files(&self) -> Option<Value> {
        (!self.returned.is_empty()).then(|| self.calls.give_files(&self.returned))
    }
}

/// The common part of all requests to an agent's model.
fn asks(mode: Mode) -> Ask {
    let stop = mode.stop();
    Ask { stop: (!stop.is_empty()).then_some(stop), ..Ask::default() }
}

/// Emits new text of a reply.
fn show(agent: &Agent, call: Call<'_>, delta: Delta, iteration: u32) {
    match delta {
        Delta::Thought(delta) if agent.shows == Streaming::All => {
            call.run.emit(EventBody::AgentReasoningDelta { delta, iteration });
        }
        Delta::Answer(delta) if agent.shows != Streaming::Nothing && !agent.hooks.guard_output() => {
            call.run.emit(EventBody::AgentAnswerDelta { delta, iteration });
        }
        _ => {}
    }
}

/// Reads `{tools: [{name, input, thought}]}`.
fn several(input: &Value) -> Result<Vec<RequestedCall>, String> {
    let Some(tools) = input["tools"].as_array().filter(|tools| !tools.is_empty()) else {
        return Err("`tools` must be a list of calls".into());
    };
    if input.as_object().is_some_and(|input| input.len() > 1) {
        return Err("the input may have no field except `tools`".into());
    }
    let call = |tool: &Value| {
        let known = ["name", "input", "thought", "tool_call_id"];
        let unknown =
            tool.as_object().and_then(|tool| tool.keys().find(|key| !known.contains(&key.as_str())));
        if let Some(unknown) = unknown {
            return Err(format!("a call has no field `{unknown}`: use `name` and `input`"));
        }
        let Some(name) = tool["name"].as_str() else {
            return Err("`name` of a call cannot be blank: set it to the name of a tool".into());
        };
        let input = match tool.get("input") {
            None => json!({}),
            Some(input @ Value::Object(_)) => input.clone(),
            Some(_) => return Err(format!("the `input` of {name} must be an object")),
        };
        let thought = tool["thought"].as_str().unwrap_or_default().to_owned();
        Ok(RequestedCall { thought, name: name.to_owned(), input, id: None })
    };
    tools.iter().map(call).collect()
}
