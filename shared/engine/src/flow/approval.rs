//! `approval`: a person approves a node before it is executed.
//!
//! The input that is shown, the node's input after its transformer and mapping, is the input that is executed. It is
//! logged with the question. A replay on another machine, or after the nodes before it have changed, executes the
//! logged input and nothing else.

use super::{Call, NodeError, cache::canonical};
use crate::template::Template;
use runyard_runs::{Answer, Asked, EventBody, InputRequest, InputRequestKind, Recorded, RequestId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// The approval that a node needs before it is executed.
#[derive(Debug)]
pub(crate) struct Approval {
    pub(crate) message: Arc<Template>,
    /// Keys of the input that the answer may change.
    pub(crate) editable: Vec<String>,
    /// The feedback that means approval if the answer has no `approved`.
    pub(crate) accept_pattern: String,
    pub(crate) expiry: Option<Expiry>,
}

/// How long to wait for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    pub(crate) after: Duration,
    pub(crate) then: OnExpiry,
}

/// What happens without an answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnExpiry {
    /// The node fails.
    Fail,
    /// The node is executed unchanged, as if approved.
    Approve,
    /// The node is skipped, as if denied.
    Deny,
}

/// A tool call of an agent, as the approver sees it.
#[derive(Clone, Copy)]
pub(crate) struct ToolCalled<'a> {
    /// The JSON Schema of the tool's arguments.
    pub(crate) parameters: &'a Value,
    /// For a tool of a server, its name. The node then takes `{tool, arguments}`, and the arguments are shown.
    pub(crate) listed: Option<&'a str>,
    /// Called with the approved input before the node is executed, and again when that is restored.
    pub(crate) approved: &'a (dyn Fn(&Approved) + Send + Sync),
}

/// An input that was approved.
pub(crate) struct Approved {
    /// The input that the node is executed with.
    pub(crate) input: Arc<Value>,
    /// The input as it was shown, with the person's changes.
    pub(crate) params: Map<String, Value>,
    /// The person's changes.
    pub(crate) changes: Vec<Change>,
}

impl Approved {
    /// A note for the model about the changes, if there are any.
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

/// Characters of a value that are quoted in [`Approved::note`].
const MAX_QUOTED_CHARS: usize = 1_000;

impl Change {
    fn to_text(&self) -> String {
        let short = |value: &Value| {
            let text = value.to_string();
            match text.char_indices().nth(MAX_QUOTED_CHARS) {
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

/// The result of an approval.
pub(super) enum Verdict {
    /// The node is executed with this input.
    Approved(Approved),
    /// The node is skipped.
    Denied(NodeError),
    /// The node fails.
    Failed(NodeError),
    /// The node waits.
    Pending,
}

/// Error kind of a node whose question was not answered in time.
pub(crate) const INPUT_EXPIRED: &str = "InputExpiredError";

/// Bytes of a schema that is kept with a question. A larger one is left out: the types of the shown values then decide.
const MAX_SCHEMA_BYTES: usize = 64 << 10;

impl Approval {
    /// Asks for approval of `input`, or returns the logged verdict.
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
            Asked::Expired => match self.expiry.map_or(OnExpiry::Fail, |expiry| expiry.then) {
                OnExpiry::Approve => Verdict::Approved(approved(input, recorded.as_ref(), tool, Vec::new())),
                OnExpiry::Deny => Verdict::Denied(denied("it was not approved in time")),
                OnExpiry::Fail => {
                    Verdict::Failed(NodeError::new(INPUT_EXPIRED, "it was not approved in time").lasting())
                }
            },
        }
    }

    /// The approved input, if the log has an approval.
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
            // A name that is neither in the input nor in the schema would have no effect, so it cannot be changed.
            editable_params: self.editable.iter().filter(is_known).cloned().collect(),
            schema,
            accept_pattern: Some(self.accept_pattern.clone()),
            expires_at: self.expiry.map(|expiry| call.run.now() + expiry.after),
            params: hidden(call, params),
        })
    }

    /// The part of a schema that describes the editable keys; empty if it describes none.
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
        let fits = serde_json::to_vec(&schema).is_ok_and(|json| json.len() <= MAX_SCHEMA_BYTES);
        if fits { schema } else { Map::new() }
    }

    fn judge(
        &self,
        input: &Arc<Value>,
        recorded: Option<&Recorded>,
        tool: Option<ToolCalled<'_>>,
        answer: &Answer,
    ) -> Verdict {
        let feedback = answer.get("feedback").and_then(Value::as_str);
        let is_approved = answer.get("approved").and_then(Value::as_bool);
        if !is_approved.unwrap_or(feedback == Some(self.accept_pattern.as_str())) {
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

/// The key of the question about `input`, and the question if it is logged.
///
/// An earlier release asked about the input before the node's transformer. Such a question counts if it shows what
/// would be shown now; otherwise a new question is asked.
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

/// The part of the input that is shown.
fn shown(input: &Value, tool: Option<ToolCalled<'_>>) -> Map<String, Value> {
    let part = if tool.is_some_and(|tool| tool.listed.is_some()) { &input["arguments"] } else { input };
    match part {
        Value::Object(map) => map.clone(),
        other => Map::from_iter([("input".to_owned(), other.clone())]),
    }
}

/// The params as events show them: with secrets masked.
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

/// The input that the node is executed with: what the question showed, with the answer's changes.
fn approved(
    input: &Arc<Value>,
    recorded: Option<&Recorded>,
    tool: Option<ToolCalled<'_>>,
    changes: Vec<(String, Value)>,
) -> Approved {
    let is_current = |asked: &Recorded| asked.journal.is_null() || asked.journal["shown"] == digest(input);
    let now = recorded.is_none_or(is_current);
    // If the input is unchanged, it is not taken from the log, where secrets are masked.
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

/// A hash of an input that does not depend on the order of its keys.
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
