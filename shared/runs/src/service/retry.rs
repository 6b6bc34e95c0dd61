//! `POST /v1/runs/{run_id}/retry`: a new run from one that failed or was canceled.

use super::{
    RunService,
    create::{self, Created, Idempotency, Mode},
    get,
};
use crate::{App, EventBody, FieldErrors, Logged, RequestId, RunId, RunStatus, StoreError};
use serde_json::Value;
use std::{collections::HashSet, sync::Arc};

/// Why a run was not retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such run of this app.
    #[error("no such run")]
    NotFound,
    /// It has not ended, or has completed, or its version of the app does not exist any more: the errors, by field.
    #[error("the run cannot be retried")]
    Invalid(FieldErrors),
    /// The new run was not accepted.
    #[error(transparent)]
    Create(#[from] create::Error),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Create(error.into())
    }
}

impl RunService {
    /// Accepts a new run for a worker, with the input and the app version of the run `id`. The caller must have an
    /// access key. Steps that are done in the log of `id` are not repeated; failed ones are tried again.
    ///
    /// The first entry of the new run's log, or the one after its claim, contains the steps that it keeps. From then on
    /// the log of `id` is not needed.
    pub async fn retry(
        &self,
        app: &Arc<App>,
        id: RunId,
        idempotency: Option<Idempotency>,
    ) -> Result<Created, Error> {
        if self.is_shutting_down() {
            return Err(create::Error::ShuttingDown.into());
        }
        self.left_to_store(app).await.map_err(create::Error::from)?;
        let run = self.get(app, id).await.map_err(|error| match error {
            get::Error::NotFound => Error::NotFound,
            get::Error::Store(error) => error.into(),
        })?;
        if !matches!(run.status, RunStatus::Failed | RunStatus::Canceled) {
            let status = run.reported_status().name();
            return Err(invalid(
                "status",
                format!("is {status}: only a failed or canceled run can be retried"),
            ));
        }
        let Some(app) = self.ports.apps.version(app.id, &run.new.app_version).await? else {
            let version = &run.new.app_version;
            return Err(invalid("app", format!("its version {version} is gone: deploy it again")));
        };
        let old = run.new;
        let new = self.new_run(&app, old.input, old.files, |new| {
            new.user_id = old.user_id;
            new.session_id = old.session_id;
            new.metadata = old.metadata;
            new.retry_of = Some(old.id);
            new.origin = old.origin.retried();
        });
        let _until_accepted = self.take_memory(&app, &new.input).map_err(create::Error::from)?;
        Ok(self.accept_in_task(&app, new, None, idempotency, Mode::Background, None).await?)
    }
}

fn invalid(field: &str, problem: String) -> Error {
    Error::Invalid(FieldErrors::from([(field.to_owned(), problem)]))
}

/// Returns the events of a log that a retry keeps: each step that is done, and each question with its answer.
///
/// Not kept are failures, unless other nodes continued from them; skipped nodes, which cost nothing to skip again; and
/// unanswered questions, which are asked again.
pub(super) fn kept(log: Vec<Logged>) -> Vec<Logged> {
    let answered: HashSet<RequestId> = log
        .iter()
        .filter_map(|logged| match &logged.body {
            EventBody::InputReceived { request_id, .. } => Some(*request_id),
            _ => None,
        })
        .collect();
    let void: HashSet<String> = log.iter().filter(|logged| !is_handled(logged)).flat_map(voided).collect();
    let is_kept = |logged: &Logged| match (&logged.key, &logged.body) {
        (None, _) => false,
        (Some(key), _) if key == KEPT || void.contains(key) => false,
        (_, EventBody::NodeFailed { .. } | EventBody::AgentToolCallFailed { .. }) => is_handled(logged),
        (_, EventBody::NodeSkipped { .. } | EventBody::InputExpired { .. }) => false,
        (_, body) => body.request().is_none_or(|request| answered.contains(&request.id)),
    };
    let mut kept: Vec<Logged> = log.into_iter().filter(is_kept).collect();
    let (key, journal) = (Some(KEPT.to_owned()), Some(Value::Null));
    kept.push(Logged { body: EventBody::RunCheckpoint, key, journal });
    kept
}

/// Whether other nodes continued from a failure.
fn is_handled(logged: &Logged) -> bool {
    logged.journal.as_ref().is_some_and(|journal| journal["handled"] == true)
}

/// Returns the keys of the steps that a failure makes void, so that they are done again.
fn voided(failed: &Logged) -> Vec<String> {
    let void = failed.journal.as_ref().and_then(|journal| journal["void"].as_array());
    void.into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect()
}

/// The key of the event that follows the last kept event.
const KEPT: &str = "retry";

/// Whether a run's log contains what it keeps of the retried run.
pub(super) fn has_kept(log: &[Logged]) -> bool {
    log.iter().any(|logged| logged.key.as_deref() == Some(KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn logged(event: Value) -> Logged {
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn failures_are_retried_unless_other_nodes_continued_from_them() {
        let node = json!({"id": "n", "name": "N", "type": "t"});
        let error = json!({"code": "node_failed", "message": "no"});
        let request =
            |id: u128| json!({"id": uuid::Uuid::from_u128(id), "type": "human_feedback", "prompt": "?"});
        let log = [
            json!({"type": "run.started"}),
            json!({"type": "llm.delta", "node": node, "delta": "x"}),
            json!({"type": "run.checkpoint", "k": "call:a", "j": "key a"}),
            json!({"type": "run.checkpoint", "k": "call:b", "j": "key b"}),
            json!({"type": "run.checkpoint", "k": "call:c", "j": "key c"}),
            json!({"type": "node.failed", "node": node, "error": error, "k": "node:a:done", "j": {"void": ["call:a"]}}),
            json!({"type": "node.failed", "node": node, "error": error, "k": "node:b:done", "j": {"handled": true}}),
            json!({"type": "node.skipped", "node": node, "error": error, "k": "node:d:done", "j": {}}),
            json!({"type": "node.completed", "node": node, "output": 1, "k": "node:e:done", "j": {}}),
            json!({"type": "agent.human_feedback.requested", "request": request(1), "k": "q1", "j": null}),
            json!({"type": "agent.human_feedback.requested", "request": request(2), "k": "q2", "j": null}),
            json!({"type": "input.received", "request_id": uuid::Uuid::from_u128(1), "kind": "human_feedback", "k": "a1", "j": {}}),
            json!({"type": "run.checkpoint", "k": KEPT, "j": null}),
            json!({"type": "run.failed", "error": error}),
        ];
        let kept = kept(log.into_iter().map(logged).collect());
        let keys: Vec<_> = kept.iter().filter_map(|logged| logged.key.as_deref()).collect();
        assert_eq!(keys, ["call:b", "call:c", "node:b:done", "node:e:done", "q1", "a1", KEPT]);
        assert!(has_kept(&kept));
    }
}
