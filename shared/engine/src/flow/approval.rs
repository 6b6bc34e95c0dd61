//! `approval`: a person's word before a node is executed.
//!
//! What is shown is what is executed: the node's input after its transformer and mapping. It stands in the log with the
//! question, so that a replay, on another machine or after what stands before the node has changed, executes that and
//! nothing else.

use super::{Call, NodeError, cache::canonical};
use crate::template::Template;
use runyard_runs::{Answer, Asked, EventBody, InputRequest, InputRequestKind, Recorded, RequestId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// Whom a node waits for before it is executed.
#[derive(Debug)]
pub(crate) struct Approval {
    pub(crate) message: Arc<Template>,
    /// The entries of the input that the answer may change.
    pub(crate) editable: Vec<String>,
    /// The feedback that approves where the answer does not say whether it does.
    pub(crate) accept_pattern: String,
    pub(crate) expiry: Option<Expiry>,
}

/// For how long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    pub(crate) after: Duration,
    pub(crate) then: Unanswered,
}

/// What happens if nobody answers in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The node fails.
    Fail,
    /// As if it was approved unchanged.
    Approve,
    /// As if it was denied.
    Deny,
}

/// A call that an agent makes, as who approves it sees it.
#[derive(Clone, Copy)]
pub(crate) struct ToolCalled<'a> {
    /// The JSON Schema of the tool's arguments.
    pub(crate) parameters: &'a Value,
    /// Of one of a server's tools, its name: the node is given `{tool, arguments}`, and the arguments are shown.
    pub(crate) listed: Option<&'a str>,
    /// Told what was approved, before the node is executed with it; again when that is restored.
    pub(crate) approved: &'a (dyn Fn(&Approved) + Send + Sync),
}

/// An input that was approved.
pub(crate) struct Approved {
    /// What the node is executed with.
    pub(crate) input: Arc<Value>,
    /// The same as it was shown, with what was changed.
    pub(crate) params: Map<String, Value>,
    /// What a person changed.
    pub(crate) changes: Vec<Change>,
}

impl Approved {
    /// What a model is told of what a person changed; nothing if that is nothing.
    pub(crate) fn note(&self) -> Option<String> {
        let changes: Vec<String> = self.changes.iter().map(Change::to_text).collect();
        (!changes.is_empty())
            .then(|| format!("[A person changed {} before it was executed.]", changes.join(" and ")))
    }
}

/// One entry of an input that a person changed.
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) from: Option<Value>,
    pub(crate) to: Value,
}

/// Characters of a value that a model is told of what was changed.
const LONGEST_VALUE: usize = 1_000;

impl Change {
    fn to_text(&self) -> String {
        let short = |value: &Value| {
            let text = value.to_string();
            match text.char_indices().nth(LONGEST_VALUE) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        };
        match &self.from {
            Some(from) => format!("`{}` from {} to {}", self.name, short(from), short(&self.to)),
            None => format!("`{}` to {}", self.name, short(&self.to)),
        }
    }
}

/// What came of it.
pub(super) enum Verdict {
    /// The node is executed with this.
    Approved(Approved),
    /// The node is skipped.
    Denied(NodeError),
    /// The node fails.
    Failed(NodeError),
    /// The node waits.
    Pending,
}

/// The kind of the error of a node that nobody answered in time.
pub(crate) const INPUT_EXPIRED: &str = "InputExpiredError";

/// Bytes of a schema that a question keeps. A larger one is not kept: then the types of what is shown decide.
const LONGEST_SCHEMA: usize = 64 << 10;

impl Approval {
    /// Asks for approval of `input`, or gives the verdict that the log has.
    pub(super) async fn ask(
        &self,
        call: Call<'_>,
        input: &Arc<Value>,
        tool: Option<ToolCalled<'_>>,
    ) -> Verdict {
        let (key, recorded) = question(call, input, tool);
        let mut asked = call.run.asked(&key);
        if recorded.is_none() && asked == Asked::Pending {
            let request = match self.request(call, input, tool).await {
                Ok(request) => request,
                Err(error) => return Verdict::Failed(error),
            };
            let journal = json!({"shown": digest(input)});
            asked = call
                .run
                .ask_with(&key, request, journal, |request| EventBody::ApprovalRequestCreated { request });
        }
        match asked {
            Asked::Pending => Verdict::Pending,
            Asked::Answered(answer) => self.judge(input, recorded.as_ref(), tool, &answer),
            Asked::Expired => match self.expiry.map_or(Unanswered::Fail, |expiry| expiry.then) {
                Unanswered::Approve => {
                    Verdict::Approved(approved(input, recorded.as_ref(), tool, Vec::new()))
                }
                Unanswered::Deny => Verdict::Denied(denied("nobody approved it in time")),
                Unanswered::Fail => {
                    Verdict::Failed(NodeError::new(INPUT_EXPIRED, "nobody approved it in time").lasting())
                }
            },
        }
    }

    /// What was approved, if the log says that it was.
    pub(super) async fn recorded(
        &self,
        call: Call<'_>,
        input: &Arc<Value>,
        tool: Option<ToolCalled<'_>>,
    ) -> Option<Approved> {
        let (key, recorded) = question(call, input, tool);
        recorded.as_ref()?;
        let verdict = match call.run.asked(&key) {
            Asked::Pending => return None,
            _ => self.ask(call, input, tool).await,
        };
        match verdict {
            Verdict::Approved(approved) => Some(approved),
            _ => None,
        }
    }

    async fn request(
        &self,
        call: Call<'_>,
        input: &Value,
        tool: Option<ToolCalled<'_>>,
    ) -> Result<InputRequest, NodeError> {
        let params = shown(input, tool);
        let offered;
        let parameters = if let Some(tool) = tool {
            tool.parameters
        } else {
            offered = call.node.kind.offer().parameters;
            &offered
        };
        let schema = self.schema(parameters);
        let is_known = |name: &&String| {
            params.contains_key(*name)
                || schema.get("properties").is_some_and(|known| known.get(name).is_some())
        };
        Ok(InputRequest {
            id: RequestId(uuid::Uuid::nil()),
            kind: InputRequestKind::ApprovalRequest,
            prompt: call.services.secrets.hide_in_content(self.message(call, input, &params, tool).await?),
            // What is not there, and would not be read if it was, cannot be changed.
            editable_params: self.editable.iter().filter(is_known).cloned().collect(),
            schema,
            accept_pattern: Some(self.accept_pattern.clone()),
            expires_at: self.expiry.map(|expiry| call.run.now() + expiry.after),
            params: hidden(call, params),
        })
    }

    /// Of a schema, what tells of the entries that may be changed; empty if it tells nothing.
    fn schema(&self, parameters: &Value) -> Map<String, Value> {
        let Some(known) = parameters.get("properties").and_then(Value::as_object) else { return Map::new() };
        let of = |name: &String| Some((name.clone(), known.get(name)?.clone()));
        let properties: Map<String, Value> = self.editable.iter().filter_map(of).collect();
        if properties.is_empty() {
            return Map::new();
        }
        let mut schema = Map::from_iter([("properties".to_owned(), Value::Object(properties))]);
        for key in ["$defs", "definitions"] {
            if let Some(definitions) = parameters.get(key) {
                schema.insert(key.to_owned(), definitions.clone());
            }
        }
        let is_short = serde_json::to_vec(&schema).is_ok_and(|json| json.len() <= LONGEST_SCHEMA);
        if is_short { schema } else { Map::new() }
    }

    fn judge(
        &self,
        input: &Arc<Value>,
        recorded: Option<&Recorded>,
        tool: Option<ToolCalled<'_>>,
        answer: &Answer,
    ) -> Verdict {
        let feedback = answer.get("feedback").and_then(Value::as_str);
        let said = answer.get("approved").and_then(Value::as_bool);
        if !said.unwrap_or(feedback == Some(self.accept_pattern.as_str())) {
            return Verdict::Denied(denied(&match feedback {
                Some(feedback) => format!("it was denied by a person with feedback {feedback}"),
                None => "it was denied by a person".to_owned(),
            }));
        }
        let request = recorded.and_then(|asked| asked.body.request());
        let editable = request.map_or(self.editable.as_slice(), |request| &request.editable_params);
        let given = answer.get("params").and_then(Value::as_object).into_iter().flatten();
        let changes = given.filter(|(name, _)| editable.contains(name));
        let changes = changes.map(|(name, to)| (name.clone(), to.clone())).collect();
        Verdict::Approved(approved(input, recorded, tool, changes))
    }

    async fn message(
        &self,
        call: Call<'_>,
        input: &Value,
        params: &Map<String, Value>,
        tool: Option<ToolCalled<'_>>,
    ) -> Result<String, NodeError> {
        let node = call.node;
        let reference = &node.reference;
        let listed = tool.and_then(|tool| tool.listed);
        let mut variables = Map::new();
        variables.insert("id".into(), node.id.as_ref().into());
        if let Some(name) = listed.or(node.name.as_deref()) {
            variables.insert("name".into(), name.into());
        }
        variables.insert("type".into(), reference.kind.as_str().into());
        let input = if input.is_object() { Value::Object(params.clone()) } else { input.clone() };
        variables.insert("input_data".into(), input);
        self.message.render(call.run, &variables).await
    }
}

/// The key of the question about `input`, and the question if the log has it.
///
/// An earlier release asked about the input before the node's transformer. What such a question shows counts if it is what
/// would be shown now; else it is asked anew.
fn question(call: Call<'_>, input: &Value, tool: Option<ToolCalled<'_>>) -> (String, Option<Recorded>) {
    let key = format!("node:{}:approval", call.key);
    let Some(recorded) = call.run.recorded(&key) else { return (key, None) };
    let shows = recorded.body.request().map(|request| &request.params);
    if recorded.journal.is_null() && shows != Some(&shown(input, tool)) {
        let key = format!("{key}:again");
        let recorded = call.run.recorded(&key);
        return (key, recorded);
    }
    (key, Some(recorded))
}

/// The input as it is shown.
fn shown(input: &Value, tool: Option<ToolCalled<'_>>) -> Map<String, Value> {
    let part = if tool.is_some_and(|tool| tool.listed.is_some()) { &input["arguments"] } else { input };
    match part {
        Value::Object(map) => map.clone(),
        other => Map::from_iter([("input".to_owned(), other.clone())]),
    }
}

/// The params as events show them.
pub(crate) fn hidden(call: Call<'_>, params: Map<String, Value>) -> Map<String, Value> {
    if call.services.secrets.outputs_hold_none() {
        return params;
    }
    let mut params = Value::Object(params);
    call.services.secrets.hide_in_value(&mut params);
    match params {
        Value::Object(params) => params,
        _ => Map::new(),
    }
}

/// What the node is executed with: what was shown with the question, and what the answer changes of it.
fn approved(
    input: &Arc<Value>,
    recorded: Option<&Recorded>,
    tool: Option<ToolCalled<'_>>,
    changes: Vec<(String, Value)>,
) -> Approved {
    let as_now = |asked: &Recorded| asked.journal.is_null() || asked.journal["shown"] == digest(input);
    let now = recorded.is_none_or(as_now);
    // Not from the log if it is the same: there, secrets are masked.
    let mut params = match recorded.and_then(|asked| asked.body.request()) {
        Some(request) if !now => request.params.clone(),
        _ => shown(input, tool),
    };
    if now && changes.is_empty() {
        return Approved { input: Arc::clone(input), params, changes: Vec::new() };
    }
    let changes = changes
        .into_iter()
        .filter_map(|(name, to)| {
            let from = params.insert(name.clone(), to.clone());
            (from.as_ref() != Some(&to)).then_some(Change { name, from, to })
        })
        .collect();
    let executed = match tool.and_then(|tool| tool.listed) {
        Some(listed) => json!({"tool": listed, "arguments": params}),
        None if input.is_object() => Value::Object(params.clone()),
        None => params.get("input").cloned().unwrap_or_default(),
    };
    Approved { input: Arc::new(executed), params, changes }
}

/// A hash of an input, whatever the order of its entries.
fn digest(input: &Value) -> String {
    let mut text = String::new();
    canonical(input, &mut text);
    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn denied(message: &str) -> NodeError {
    NodeError { recoverable: true, ..NodeError::new("NodeSkippedException", message) }
}
