//! Events as callers see them.
//!
//! `data.object` names the subject of the event: its type without the last word.

use super::{InputRequest, InputRequestType, Pagination, RunError, time};
use runyard_runs::{self as runs, EventBody, NodeRef, RunStatus, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Discriminator, KnownFormat, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, SchemaFormat, Type,
    },
};
use uuid::Uuid;

/// An event of a run.
pub(crate) struct RunEvent<'a>(pub(crate) &'a runs::RunEvent);

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList<'a> {
    pub(crate) data: Vec<RunEvent<'a>>,
    pub(crate) pagination: Pagination,
}

impl Serialize for RunEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let r#type = event.body.name();
        let data = Data {
            object: r#type.rsplit_once('.').map_or(r#type, |(object, _)| object),
            about: event.into(),
        };
        Envelope { id: event.id(), r#type, sequence: event.sequence, timestamp: event.timestamp, data }
            .serialize(serializer)
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    id: Uuid,
    r#type: &'static str,
    sequence: u64,
    #[serde(serialize_with = "time")]
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    object: &'static str,
    #[serde(flatten)]
    about: About<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum About<'a> {
    Run(RunState),
    RunOutput(RunOutput<'a>),
    RunFailure(RunFailure<'a>),
    NodeStart(NodeStart<'a>),
    NodeOutput(NodeOutput<'a>),
    NodeFailure(NodeFailure<'a>),
    NodeDelta(NodeDelta<'a>),
    Delta(Delta<'a>),
    ToolCall(ToolCall<'a>),
    ToolResult(ToolResult<'a>),
    ToolFailure(ToolFailure<'a>),
    Request(Request<'a>),
    Message(Message<'a>),
    Expired(Expired),
    Received(Received<'a>),
}

/// The run, and its status.
#[derive(Serialize, ToSchema)]
struct RunState {
    id: Uuid,
    #[schema(value_type = super::run::RunStatus)]
    status: RunStatus,
}

#[derive(Serialize, ToSchema)]
struct RunOutput<'a> {
    id: Uuid,
    #[schema(value_type = super::run::RunStatus)]
    status: RunStatus,
    /// Any JSON value.
    output: &'a Value,
}

#[derive(Serialize, ToSchema)]
struct RunFailure<'a> {
    id: Uuid,
    #[schema(value_type = super::run::RunStatus)]
    status: RunStatus,
    error: RunError<'a>,
}

#[derive(Serialize, ToSchema)]
struct NodeStart<'a> {
    #[schema(value_type = NodeSchema)]
    node: &'a NodeRef,
    /// For a node that waited for approval: the input that it is executed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    input: Option<&'a Value>,
}

#[derive(Serialize, ToSchema)]
struct NodeOutput<'a> {
    #[schema(value_type = NodeSchema)]
    node: &'a NodeRef,
    /// Any JSON value.
    output: &'a Value,
}

#[derive(Serialize, ToSchema)]
struct NodeFailure<'a> {
    #[schema(value_type = NodeSchema)]
    node: &'a NodeRef,
    error: RunError<'a>,
}

#[derive(Serialize, ToSchema)]
struct NodeDelta<'a> {
    #[schema(value_type = NodeSchema)]
    node: &'a NodeRef,
    /// The next piece of text.
    delta: &'a str,
}

#[derive(Serialize, ToSchema)]
struct Delta<'a> {
    /// The next piece of text.
    delta: &'a str,
    /// The agent's iteration, from 1.
    iteration: u32,
}

#[derive(Serialize, ToSchema)]
struct ToolCall<'a> {
    /// Id of the call.
    id: &'a str,
    /// What the tool was given: any JSON value.
    input: &'a Value,
    /// The agent's iteration, from 1.
    iteration: u32,
    #[schema(value_type = ToolSchema)]
    tool: &'a runs::ToolRef,
}

#[derive(Serialize, ToSchema)]
struct ToolResult<'a> {
    /// Id of the call.
    id: &'a str,
    /// What the tool was given: any JSON value.
    input: &'a Value,
    /// The agent's iteration, from 1.
    iteration: u32,
    #[schema(value_type = ToolSchema)]
    tool: &'a runs::ToolRef,
    /// Any JSON value.
    result: &'a Value,
}

#[derive(Serialize, ToSchema)]
struct ToolFailure<'a> {
    /// Id of the call.
    id: &'a str,
    /// What the tool was given: any JSON value.
    input: &'a Value,
    /// The agent's iteration, from 1.
    iteration: u32,
    #[schema(value_type = ToolSchema)]
    tool: &'a runs::ToolRef,
    error: RunError<'a>,
}

#[derive(Serialize, ToSchema)]
struct Request<'a> {
    request: InputRequest<'a>,
}

#[derive(Serialize, ToSchema)]
struct Message<'a> {
    #[schema(value_type = NodeSchema)]
    node: &'a NodeRef,
    /// The text.
    message: &'a str,
}

#[derive(Serialize, ToSchema)]
struct Expired {
    /// The question that expired.
    request_id: Uuid,
}

#[derive(Serialize, ToSchema)]
struct Received<'a> {
    /// The question that was answered.
    request_id: Uuid,
    r#type: InputRequestType,
    /// For an approval: whether it was approved or denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    approved: Option<bool>,
    /// For an approval: the params that the answer changed, by name.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = HashMap<String, ParamChange>, required = false)]
    changes: &'a Map<String, Value>,
    /// Who answered; omitted if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    by: Option<AnsweredBy<'a>>,
}

/// A param that an answer changed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes JSON that the log stores in the form in which it is shown")]
struct ParamChange {
    /// The value that was to be approved; omitted if there was none.
    #[schema(required = false)]
    from: Value,
    /// The value that is executed instead.
    to: Value,
}

/// Who answered.
#[derive(Serialize, ToSchema)]
struct AnsweredBy<'a> {
    /// The public part of the access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "0123456789abcdef")]
    key: Option<&'a str>,
    /// The `user_id` that the answer was sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<&'a str>,
}

/// A node of the workflow.
#[derive(ToSchema)]
#[schema(as = Node)]
#[expect(dead_code, reason = "describes the domain's type")]
struct NodeSchema {
    id: String,
    name: String,
    /// The type in the workflow file.
    r#type: String,
}

/// A tool of an agent.
#[derive(ToSchema)]
#[schema(as = Tool)]
#[expect(dead_code, reason = "describes the domain's type")]
struct ToolSchema {
    name: String,
    /// The type in the workflow file.
    r#type: String,
}

impl<'a> From<&'a runs::RunEvent> for About<'a> {
    fn from(event: &'a runs::RunEvent) -> Self {
        let id = event.run.0;
        match &event.body {
            EventBody::RunStarted | EventBody::RunResumed | EventBody::RunCheckpoint => {
                Self::Run(RunState { id, status: RunStatus::Started })
            }
            EventBody::RunPaused => Self::Run(RunState { id, status: RunStatus::Paused }),
            EventBody::RunCanceled => Self::Run(RunState { id, status: RunStatus::Canceled }),
            EventBody::RunCompleted { output } => {
                Self::RunOutput(RunOutput { id, status: RunStatus::Completed, output })
            }
            EventBody::RunFailed { error } => {
                Self::RunFailure(RunFailure { id, status: RunStatus::Failed, error: error.into() })
            }
            EventBody::NodeStarted { node, input } => {
                Self::NodeStart(NodeStart { node, input: input.as_ref() })
            }
            EventBody::NodeCompleted { node, output } => Self::NodeOutput(NodeOutput { node, output }),
            EventBody::NodeFailed { node, error } | EventBody::NodeSkipped { node, error } => {
                Self::NodeFailure(NodeFailure { node, error: error.into() })
            }
            EventBody::LlmDelta { node, delta } => Self::NodeDelta(NodeDelta { node, delta }),
            EventBody::AgentReasoningDelta { delta, iteration }
            | EventBody::AgentAnswerDelta { delta, iteration } => {
                Self::Delta(Delta { delta, iteration: *iteration })
            }
            EventBody::AgentToolCallStarted { call: runs::ToolCall { id, input, iteration, tool } } => {
                Self::ToolCall(ToolCall { id, input, iteration: *iteration, tool })
            }
            EventBody::AgentToolCallCompleted { call, result } => {
                let runs::ToolCall { id, input, iteration, tool } = call;
                Self::ToolResult(ToolResult { id, input, iteration: *iteration, tool, result })
            }
            EventBody::AgentToolCallFailed { call, error } => {
                let runs::ToolCall { id, input, iteration, tool } = call;
                let error = error.into();
                Self::ToolFailure(ToolFailure { id, input, iteration: *iteration, tool, error })
            }
            EventBody::AgentHumanFeedbackRequested { request }
            | EventBody::ApprovalRequestCreated { request } => {
                Self::Request(Request { request: request.into() })
            }
            EventBody::AgentMessageSent { node, message } => Self::Message(Message { node, message }),
            EventBody::InputExpired { request_id } => Self::Expired(Expired { request_id: request_id.0 }),
            EventBody::InputReceived { request_id, kind, approved, changes, by } => {
                Self::Received(Received {
                    request_id: request_id.0,
                    r#type: (*kind).into(),
                    approved: *approved,
                    changes,
                    by: (!by.is_unknown())
                        .then_some(AnsweredBy { key: by.key.as_deref(), user_id: by.user_id.as_deref() }),
                })
            }
        }
    }
}

type DataSchema = fn() -> RefOr<Schema>;

/// Every type of event: its name, the name of its schema, its description, and its data.
const EVENTS: [(&str, &str, &str, DataSchema); 22] = [
    ("run.started", "RunStartedEvent", "A worker started the run.", RunState::schema),
    ("run.paused", "RunPausedEvent", "The run cannot continue without a person.", RunState::schema),
    (
        "run.resumed",
        "RunResumedEvent",
        "A worker continued a run that was paused or that another worker left.",
        RunState::schema,
    ),
    ("run.checkpoint", "RunCheckpointEvent", "The run recorded internal state.", RunState::schema),
    ("run.completed", "RunCompletedEvent", "The run ended with an output. Terminal.", RunOutput::schema),
    ("run.failed", "RunFailedEvent", "The run ended with an error. Terminal.", RunFailure::schema),
    ("run.canceled", "RunCanceledEvent", "A caller ended the run. Terminal.", RunState::schema),
    ("node.started", "NodeStartedEvent", "A node started.", NodeStart::schema),
    ("node.completed", "NodeCompletedEvent", "A node ended with an output.", NodeOutput::schema),
    ("node.failed", "NodeFailedEvent", "A node ended with an error.", NodeFailure::schema),
    ("node.skipped", "NodeSkippedEvent", "A node was not executed; `error` says why.", NodeFailure::schema),
    ("llm.delta", "LlmDeltaEvent", "A piece of an LLM's text.", NodeDelta::schema),
    ("agent.reasoning.delta", "AgentReasoningDeltaEvent", "A piece of an agent's reasoning.", Delta::schema),
    ("agent.answer.delta", "AgentAnswerDeltaEvent", "A piece of an agent's answer.", Delta::schema),
    ("agent.tool_call.started", "AgentToolCallStartedEvent", "An agent called a tool.", ToolCall::schema),
    ("agent.tool_call.completed", "AgentToolCallCompletedEvent", "A tool answered.", ToolResult::schema),
    ("agent.tool_call.failed", "AgentToolCallFailedEvent", "A tool failed.", ToolFailure::schema),
    (
        "agent.human_feedback.requested",
        "AgentHumanFeedbackRequestedEvent",
        "An agent asked a person.",
        Request::schema,
    ),
    (
        "approval_request.created",
        "ApprovalRequestCreatedEvent",
        "A node or tool waits for a person's approval.",
        Request::schema,
    ),
    (
        "agent.message.sent",
        "AgentMessageSentEvent",
        "A message to the person who follows the run; no answer is expected.",
        Message::schema,
    ),
    ("input.expired", "InputExpiredEvent", "A question expired without an answer.", Expired::schema),
    ("input.received", "InputReceivedEvent", "A person answered.", Received::schema),
];

impl PartialSchema for RunEvent<'_> {
    fn schema() -> RefOr<Schema> {
        let mut discriminator = Discriminator::new("type");
        let mut union =
            OneOfBuilder::new().description(Some("An event of a run; `type` selects the schema."));
        for (r#type, schema, ..) in EVENTS {
            let reference = Ref::from_schema_name(schema);
            discriminator.mapping.insert(r#type.to_owned(), reference.ref_location.clone());
            union = union.item(reference);
        }
        union.discriminator(Some(discriminator)).into()
    }
}

impl ToSchema for RunEvent<'_> {
    fn name() -> std::borrow::Cow<'static, str> {
        "RunEvent".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        for (r#type, name, description, data) in EVENTS {
            schemas.push((name.to_owned(), event_schema(r#type, description, data())));
        }
        for (name, schema) in [
            (RunError::name(), RunError::schema()),
            (InputRequest::name(), InputRequest::schema()),
            (InputRequestType::name(), InputRequestType::schema()),
            (super::run::RunStatus::name(), super::run::RunStatus::schema()),
            (ParamChange::name(), ParamChange::schema()),
            (AnsweredBy::name(), AnsweredBy::schema()),
            ("Node".into(), NodeSchema::schema()),
            ("Tool".into(), ToolSchema::schema()),
        ] {
            schemas.push((name.into_owned(), schema));
        }
    }
}

fn event_schema(r#type: &str, description: &str, data: RefOr<Schema>) -> RefOr<Schema> {
    let text = |format| {
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)))
    };
    let constant = |value: &str| ObjectBuilder::new().schema_type(Type::String).enum_values(Some([value]));
    let object = r#type.rsplit_once('.').map_or(r#type, |(object, _)| object);
    ObjectBuilder::new()
        .description(Some(description))
        .property("id", text(KnownFormat::Uuid))
        .property("type", constant(r#type))
        .property(
            "sequence",
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
                .minimum(Some(1))
                .description(Some("Its position in the run: from 1, without gaps.")),
        )
        .property("timestamp", text(KnownFormat::DateTime))
        .property("data", with_object(data, constant(object)))
        .required("id")
        .required("type")
        .required("sequence")
        .required("timestamp")
        .required("data")
        .into()
}

/// Returns the schema of an event's data, with `object` before its other properties. All data are objects.
fn with_object(data: RefOr<Schema>, object: ObjectBuilder) -> RefOr<Schema> {
    let mut merged = ObjectBuilder::new().property("object", object).required("object").build();
    if let RefOr::T(Schema::Object(data)) = data {
        merged.properties.extend(data.properties);
        merged.required.extend(data.required);
    }
    merged.into()
}

#[cfg(test)]
mod tests {
    use super::{EVENTS, RunEvent};
    use runyard_runs::{self as runs, EventBody, Logged};
    use serde_json::{Value, json};

    /// Returns one event of each type, parsed from the form in which the log stores them.
    fn samples() -> Vec<EventBody> {
        let uuid = "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77";
        let node = json!({ "id": "n", "name": "N", "type": "t" });
        let error = json!({ "code": "node_failed", "message": "no", "node": "n" });
        let tool = json!({ "name": "T", "type": "t" });
        let question = json!({ "id": uuid, "type": "human_feedback", "prompt": "?" });
        let approval = json!({
            "id": uuid, "type": "approval_request", "prompt": "?", "params": { "a": null }, "editable_params": ["a"],
            "expires_at": 0,
        });
        let fields = |r#type: &str| match r#type {
            "run.completed" => json!({ "output": null }),
            "run.failed" => json!({ "error": error }),
            "node.started" => json!({ "node": node, "input": { "a": 1 } }),
            "node.completed" => json!({ "node": node, "output": [1] }),
            "node.failed" | "node.skipped" => json!({ "node": node, "error": error }),
            "llm.delta" => json!({ "node": node, "delta": "x" }),
            "agent.reasoning.delta" | "agent.answer.delta" => json!({ "delta": "x", "iteration": 1 }),
            "agent.tool_call.started" => json!({ "id": "c", "input": {}, "iteration": 1, "tool": tool }),
            "agent.tool_call.completed" => {
                json!({ "id": "c", "input": {}, "iteration": 1, "tool": tool, "result": 1.5 })
            }
            "agent.tool_call.failed" => {
                json!({ "id": "c", "input": {}, "iteration": 1, "tool": tool, "error": error })
            }
            "agent.human_feedback.requested" => json!({ "request": question }),
            "approval_request.created" => json!({ "request": approval }),
            "agent.message.sent" => json!({ "node": node, "message": "x" }),
            "input.expired" => json!({ "request_id": uuid }),
            "input.received" => json!({
                "request_id": uuid, "kind": "approval_request", "approved": true,
                "changes": { "a": { "from": null, "to": 1 }, "b": { "to": "x" } },
                "by": { "key": "0123456789abcdef", "user_id": "u-17" },
            }),
            _ => json!({}),
        };
        let of = |r#type: &str| {
            let mut logged = fields(r#type);
            logged["type"] = r#type.into();
            serde_json::from_value::<Logged>(logged).unwrap().body
        };
        EVENTS.iter().map(|(r#type, ..)| of(r#type)).collect()
    }

    #[test]
    fn every_event_matches_its_schema() {
        let document: Value = serde_json::from_str(&crate::openapi()).unwrap();
        let run = runs::RunId(uuid::Uuid::from_u128(1));
        for (body, (r#type, schema, ..)) in samples().into_iter().zip(EVENTS) {
            let event = runs::RunEvent { run, sequence: 7, timestamp: runs::Timestamp(0), body };
            let shown = serde_json::to_value(RunEvent(&event)).unwrap();
            assert_eq!(shown["type"], r#type);
            assert_eq!(shown["timestamp"], "1970-01-01T00:00:00Z");
            let own = &document["components"]["schemas"][schema];
            // Every field is documented.
            for (shown, own) in [(&shown, own), (&shown["data"], &own["properties"]["data"])] {
                for field in shown.as_object().unwrap().keys() {
                    let known = own["properties"].get(field).is_some();
                    assert!(known, "{schema} shows {field}");
                }
            }
            for name in [schema, "RunEvent"] {
                let reference = format!("#/components/schemas/{name}");
                let whole = json!({ "$ref": reference, "components": document["components"] });
                let validator = jsonschema::validator_for(&whole).unwrap();
                assert!(validator.is_valid(&shown), "{shown} does not match {name}");
            }
        }
    }
}
