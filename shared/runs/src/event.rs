//! The events of a run: what happened, in order, as callers may see it.

use crate::{Actor, InputRequest, InputRequestKind, RequestId, RunError, RunId, RunStatus, Size, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use uuid::Uuid;

/// The number of an event within its run: from 1, without gaps. 0 is before the first event.
pub type Sequence = u64;

/// One event of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEvent {
    /// The run.
    pub run: RunId,
    /// Its number within the run.
    pub sequence: Sequence,
    /// When it was written.
    pub timestamp: Timestamp,
    /// What happened.
    pub body: EventBody,
}

impl RunEvent {
    /// The event's id: derived from the run and the sequence (UUID version 5), so it is never stored.
    pub fn id(&self) -> Uuid {
        Uuid::new_v5(&self.run.0, &self.sequence.to_be_bytes())
    }
}

/// What happened. Its serialized form is that of the log; `http` shows it to callers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventBody {
    /// A worker claimed the run for the first time.
    #[serde(rename = "run.started")]
    RunStarted,
    /// A worker claimed a run that another worker had left, or that was paused.
    #[serde(rename = "run.resumed")]
    RunResumed,
    /// Something was journaled that has no other event.
    #[serde(rename = "run.checkpoint")]
    RunCheckpoint,
    /// The run cannot continue without a person's answer.
    #[serde(rename = "run.paused")]
    RunPaused,
    /// The run ended with an output.
    #[serde(rename = "run.completed")]
    RunCompleted {
        /// The run's output.
        output: Arc<Value>,
    },
    /// The run ended with an error.
    #[serde(rename = "run.failed")]
    RunFailed {
        /// The cause.
        error: RunError,
    },
    /// The run was canceled by a caller.
    #[serde(rename = "run.canceled")]
    RunCanceled,
    /// A node began.
    #[serde(rename = "node.started")]
    NodeStarted {
        /// The node.
        node: Arc<NodeRef>,
        /// The input that it is executed with, if it waited for approval.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
    },
    /// A node ended with an output.
    #[serde(rename = "node.completed")]
    NodeCompleted {
        /// The node.
        node: Arc<NodeRef>,
        /// The node's output.
        output: Arc<Value>,
    },
    /// A node ended with an error.
    #[serde(rename = "node.failed")]
    NodeFailed {
        /// The node.
        node: Arc<NodeRef>,
        /// The cause.
        error: RunError,
    },
    /// A node was not executed.
    #[serde(rename = "node.skipped")]
    NodeSkipped {
        /// The node.
        node: Arc<NodeRef>,
        /// The reason.
        error: RunError,
    },
    /// A piece of an LLM's text.
    #[serde(rename = "llm.delta")]
    LlmDelta {
        /// The node that called it.
        node: Arc<NodeRef>,
        /// The piece.
        delta: String,
    },
    /// A piece of an agent's reasoning.
    #[serde(rename = "agent.reasoning.delta")]
    AgentReasoningDelta {
        /// The piece.
        delta: String,
        /// The agent's loop, from 1.
        iteration: u32,
    },
    /// A piece of an agent's answer.
    #[serde(rename = "agent.answer.delta")]
    AgentAnswerDelta {
        /// The piece.
        delta: String,
        /// The agent's loop, from 1.
        iteration: u32,
    },
    /// An agent called a tool.
    #[serde(rename = "agent.tool_call.started")]
    AgentToolCallStarted {
        /// The call.
        #[serde(flatten)]
        call: ToolCall,
    },
    /// A tool call returned a result.
    #[serde(rename = "agent.tool_call.completed")]
    AgentToolCallCompleted {
        /// The call.
        #[serde(flatten)]
        call: ToolCall,
        /// What the tool returned.
        result: Value,
    },
    /// A tool call failed.
    #[serde(rename = "agent.tool_call.failed")]
    AgentToolCallFailed {
        /// The call.
        #[serde(flatten)]
        call: ToolCall,
        /// The cause.
        error: RunError,
    },
    /// An agent asked a person.
    #[serde(rename = "agent.human_feedback.requested")]
    AgentHumanFeedbackRequested {
        /// The question.
        request: InputRequest,
    },
    /// A node or tool waits for a person's approval.
    #[serde(rename = "approval_request.created")]
    ApprovalRequestCreated {
        /// The question.
        request: InputRequest,
    },
    /// A message to the person who follows the run; no answer is expected.
    #[serde(rename = "agent.message.sent")]
    AgentMessageSent {
        /// The node that sent it.
        node: Arc<NodeRef>,
        /// The text.
        message: String,
    },
    /// A question expired without an answer.
    #[serde(rename = "input.expired")]
    InputExpired {
        /// The question.
        request_id: RequestId,
    },
    /// A person answered.
    #[serde(rename = "input.received")]
    InputReceived {
        /// The question that was answered.
        request_id: RequestId,
        /// Its kind.
        kind: InputRequestKind,
        /// Whether it was approved; absent for a question that is not an approval.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approved: Option<bool>,
        /// Changes to the question's params, by name: `{from?, to}`.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        changes: Map<String, Value>,
        /// Who answered.
        #[serde(default, skip_serializing_if = "Actor::is_unknown")]
        by: Actor,
    },
}

impl EventBody {
    /// The terminal status that this event gives the run, if it is terminal.
    pub fn ends_as(&self) -> Option<RunStatus> {
        match self {
            Self::RunCompleted { .. } => Some(RunStatus::Completed),
            Self::RunFailed { .. } => Some(RunStatus::Failed),
            Self::RunCanceled => Some(RunStatus::Canceled),
            _ => None,
        }
    }

    /// Whether this event makes a claim.
    pub fn is_claim(&self) -> bool {
        matches!(self, Self::RunStarted | Self::RunResumed)
    }

    /// Returns the question, if this event asks one.
    pub fn request(&self) -> Option<&InputRequest> {
        match self {
            Self::AgentHumanFeedbackRequested { request } | Self::ApprovalRequestCreated { request } => {
                Some(request)
            }
            _ => None,
        }
    }

    /// Approximate size as JSON, in bytes.
    pub fn bytes(&self) -> usize {
        /// Bytes of an event in addition to its content.
        const FRAME: usize = 100;
        let request = |request: &InputRequest| {
            let params = request.params.iter().map(|(key, value)| key.len() + Size::of(value).bytes);
            request.prompt.len() + params.sum::<usize>()
        };
        let call = |call: &ToolCall| call.id.len() + call.tool.name.len() + Size::of(&call.input).bytes;
        FRAME
            + match self {
                Self::RunCompleted { output } | Self::NodeCompleted { output, .. } => Size::of(output).bytes,
                Self::RunFailed { error }
                | Self::NodeFailed { error, .. }
                | Self::NodeSkipped { error, .. } => error.message.len(),
                Self::LlmDelta { delta, .. }
                | Self::AgentReasoningDelta { delta, .. }
                | Self::AgentAnswerDelta { delta, .. } => delta.len(),
                Self::AgentMessageSent { message, .. } => message.len(),
                Self::AgentToolCallStarted { call: made } => call(made),
                Self::AgentToolCallCompleted { call: made, result } => call(made) + Size::of(result).bytes,
                Self::AgentToolCallFailed { call: made, error } => call(made) + error.message.len(),
                Self::AgentHumanFeedbackRequested { request: asked }
                | Self::ApprovalRequestCreated { request: asked } => request(asked),
                Self::RunStarted
                | Self::RunResumed
                | Self::RunCheckpoint
                | Self::RunPaused
                | Self::RunCanceled
                | Self::InputExpired { .. } => 0,
                Self::NodeStarted { input, .. } => input.as_ref().map_or(0, |input| Size::of(input).bytes),
                Self::InputReceived { changes, .. } => {
                    changes.iter().map(|(key, change)| key.len() + Size::of(change).bytes).sum()
                }
            }
    }

    /// The name of the event in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted => "run.started",
            Self::RunResumed => "run.resumed",
            Self::RunCheckpoint => "run.checkpoint",
            Self::RunPaused => "run.paused",
            Self::RunCompleted { .. } => "run.completed",
            Self::RunFailed { .. } => "run.failed",
            Self::RunCanceled => "run.canceled",
            Self::NodeStarted { .. } => "node.started",
            Self::NodeCompleted { .. } => "node.completed",
            Self::NodeFailed { .. } => "node.failed",
            Self::NodeSkipped { .. } => "node.skipped",
            Self::LlmDelta { .. } => "llm.delta",
            Self::AgentReasoningDelta { .. } => "agent.reasoning.delta",
            Self::AgentAnswerDelta { .. } => "agent.answer.delta",
            Self::AgentToolCallStarted { .. } => "agent.tool_call.started",
            Self::AgentToolCallCompleted { .. } => "agent.tool_call.completed",
            Self::AgentToolCallFailed { .. } => "agent.tool_call.failed",
            Self::AgentHumanFeedbackRequested { .. } => "agent.human_feedback.requested",
            Self::ApprovalRequestCreated { .. } => "approval_request.created",
            Self::AgentMessageSent { .. } => "agent.message.sent",
            Self::InputExpired { .. } => "input.expired",
            Self::InputReceived { .. } => "input.received",
        }
    }
}

/// A node, as shown in events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeRef {
    /// Its id in the workflow.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its type, as the workflow file names it.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A tool call, as shown in events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id of this call.
    pub id: String,
    /// The input of the call.
    pub input: Value,
    /// The agent's loop, from 1.
    pub iteration: u32,
    /// The tool.
    pub tool: ToolRef,
}

/// A tool, as shown in events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ToolRef {
    /// Its name.
    pub name: String,
    /// Its type, as the workflow file names it.
    #[serde(rename = "type")]
    pub kind: String,
}
