//! `approval`: a person's word before a node is executed.

use super::{Call, NodeError};
use crate::template::Template;
use runyard_runs::{Answer, Asked, EventBody, InputRequest, InputRequestKind, RequestId};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

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

/// What came of it.
pub(super) enum Verdict {
    /// The node is executed; with this input, if that was changed.
    Approved(Option<Map<String, Value>>),
    /// The node is skipped.
    Denied(NodeError),
    /// The node fails.
    Failed(NodeError),
    /// The node waits.
    Pending,
}

/// The kind of the error of a node that nobody answered in time.
pub(crate) const INPUT_EXPIRED: &str = "InputExpiredError";

impl Approval {
    /// Asks for approval of `input`, or gives the verdict that the log has.
    pub(super) async fn ask(&self, call: Call<'_>, input: &Map<String, Value>) -> Verdict {
        let key = key(call);
        let asked = match call.run.asked(&key) {
            Asked::Pending => {
                let prompt = match self.message(call, input).await {
                    Ok(prompt) => prompt,
                    Err(error) => return Verdict::Failed(error),
                };
                let request = InputRequest {
                    id: RequestId(uuid::Uuid::nil()),
                    kind: InputRequestKind::ApprovalRequest,
                    prompt,
                    params: input.clone(),
                    editable_params: self.editable.clone(),
                    expires_at: self.expiry.map(|expiry| call.run.now() + expiry.after),
                };
                call.run.ask(&key, request, |request| EventBody::ApprovalRequestCreated { request })
            }
            asked => asked,
        };
        match asked {
            Asked::Pending => Verdict::Pending,
            Asked::Answered(answer) => self.judge(input, &answer),
            Asked::Expired => match self.expiry.map_or(Unanswered::Fail, |expiry| expiry.then) {
                Unanswered::Approve => Verdict::Approved(None),
                Unanswered::Deny => Verdict::Denied(denied("nobody approved it in time")),
                Unanswered::Fail => {
                    Verdict::Failed(NodeError::new(INPUT_EXPIRED, "nobody approved it in time").lasting())
                }
            },
        }
    }

    /// The input as the answer changed it, if the log has one that approves.
    pub(super) fn changed(&self, call: Call<'_>, input: &Map<String, Value>) -> Option<Map<String, Value>> {
        let Asked::Answered(answer) = call.run.asked(&key(call)) else { return None };
        match self.judge(input, &answer) {
            Verdict::Approved(changed) => changed,
            _ => None,
        }
    }

    fn judge(&self, input: &Map<String, Value>, answer: &Answer) -> Verdict {
        let feedback = answer.get("feedback").and_then(Value::as_str);
        let approved = answer.get("approved").and_then(Value::as_bool);
        if !approved.unwrap_or(feedback == Some(self.accept_pattern.as_str())) {
            return Verdict::Denied(denied(&match feedback {
                Some(feedback) => format!("it was denied by a person with feedback {feedback}"),
                None => "it was denied by a person".to_owned(),
            }));
        }
        let given = answer.get("params").and_then(Value::as_object);
        let mut changes =
            given.into_iter().flatten().filter(|(name, _)| self.editable.contains(name)).peekable();
        if changes.peek().is_none() {
            return Verdict::Approved(None);
        }
        let mut changed = input.clone();
        changed.extend(changes.map(|(name, value)| (name.clone(), value.clone())));
        Verdict::Approved(Some(changed))
    }

    async fn message(&self, call: Call<'_>, input: &Map<String, Value>) -> Result<String, NodeError> {
        let node = call.node;
        let reference = &node.reference;
        let mut variables = Map::new();
        variables.insert("id".into(), node.id.as_ref().into());
        if let Some(name) = &node.name {
            variables.insert("name".into(), name.as_str().into());
        }
        variables.insert("type".into(), reference.kind.as_str().into());
        variables.insert("input_data".into(), Value::Object(input.clone()));
        self.message.render(call.run, &variables).await
    }
}

fn key(call: Call<'_>) -> String {
    format!("node:{}:approval", call.key)
}

fn denied(message: &str) -> NodeError {
    NodeError { recoverable: true, ..NodeError::new("NodeSkippedException", message) }
}
