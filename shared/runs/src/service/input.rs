//! `POST /v1/runs/{run_id}/input`: answer a run's question.

use super::{RunService, drive::Target, get};
use crate::{
    Actor, Answer, App, EventBody, FieldErrors, InputRequest, InputRequestKind, Origin, RequestId, RunId,
    StoreError,
    protocol::{Answered, Answerer},
};
use serde_json::{Map, Value, json};

/// Why an answer was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such run of this app.
    #[error("no such run")]
    NotFound,
    /// Only a caller with an access key may give this answer.
    #[error("an access key is required")]
    KeyNeeded,
    /// The run has ended, the request is unknown or answered, or the answer is not valid: the errors, by field.
    #[error("the answer is not valid")]
    Invalid(FieldErrors),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunService {
    /// Records the answer of `by` to a pending request, and wakes the run. `answer` gets the request, and returns the
    /// answer to journal or the errors by field.
    ///
    /// A caller without a key cannot approve, and can only answer questions of runs that were created without a key.
    pub async fn answer(
        &self,
        app: &App,
        id: RunId,
        request: RequestId,
        by: Actor,
        answer: impl Fn(&InputRequest) -> Result<Answer, FieldErrors> + Send + Sync,
    ) -> Result<(), Error> {
        let run = self.get(app, id).await.map_err(|error| match error {
            get::Error::NotFound => Error::NotFound,
            get::Error::Store(error) => Error::Store(error),
        })?;
        if by.key.is_none() && run.new.origin != Origin::Anonymous {
            return Err(Error::KeyNeeded);
        }
        if run.status.is_terminal() {
            return Err(invalid("the run has ended"));
        }
        let pending = run.input_requests.iter().find(|pending| pending.id == request);
        let asked = pending.ok_or_else(|| invalid(NOT_PENDING))?;
        if by.key.is_none() && asked.kind == InputRequestKind::ApprovalRequest {
            return Err(Error::KeyNeeded);
        }
        let answer = answer(asked).map_err(Error::Invalid)?;
        let received = received(asked, &answer, by);
        let is_denied = matches!(received, EventBody::InputReceived { approved: Some(false), .. });
        if let Some(params) = answer.get("params").and_then(Value::as_object).filter(|_| !is_denied) {
            self.ports.engine.check_params(asked, params).map_err(Error::Invalid)?;
        }
        let mut answerer = Answerer::new(id, self.new_claim(), request, received, answer);
        let answered = self.ports.drive(Target { app: app.id, run: id, new: None }, &mut answerer).await?;
        self.live.nudge(id);
        match answered {
            Answered::Now => Ok(()),
            Answered::NotPending => Err(invalid(NOT_PENDING)),
            Answered::Ended => Err(invalid("the run has ended")),
            Answered::NoRun => Err(Error::NotFound),
            Answered::Unknown => {
                Err(StoreError::Unknown("the answer may or may not be recorded".into()).into())
            }
        }
    }
}

/// Returns the event of an answer: whether it approves, what it changes, and who gave it.
fn received(asked: &InputRequest, answer: &Answer, by: Actor) -> EventBody {
    let (mut approved, mut changes) = (None, Map::new());
    if asked.kind == InputRequestKind::ApprovalRequest {
        approved = answer.get("approved").and_then(Value::as_bool).or_else(|| {
            // A request of an earlier release has no pattern.
            let pattern = asked.accept_pattern.as_deref()?;
            Some(answer.get("feedback").and_then(Value::as_str) == Some(pattern))
        });
        let changed = answer.get("params").and_then(Value::as_object).filter(|_| approved != Some(false));
        for (name, to) in changed.into_iter().flatten() {
            let change = match asked.params.get(name) {
                Some(from) => json!({"from": from, "to": to}),
                None => json!({"to": to}),
            };
            changes.insert(name.clone(), change);
        }
    }
    EventBody::InputReceived { request_id: asked.id, kind: asked.kind, approved, changes, by }
}

const NOT_PENDING: &str = "no such request is pending: it is unknown, was answered, or has expired";

fn invalid(problem: &str) -> Error {
    Error::Invalid(FieldErrors::from([("request_id".to_owned(), problem.to_owned())]))
}
