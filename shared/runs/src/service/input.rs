//! `POST /v1/runs/{run_id}/input`: answer a run's question.

use super::{RunService, drive::Target, get};
use crate::{
    Answer, App, FieldErrors, InputRequest, RequestId, RunId, StoreError,
    protocol::{Answered, Answerer},
};

/// Why an answer was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such run of this app.
    #[error("no such run")]
    NotFound,
    /// The run has ended, the request is unknown or answered, or the answer does not fit: what is wrong, by field.
    #[error("the answer is not valid")]
    Invalid(FieldErrors),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunService {
    /// Records the answer to a pending request and wakes the run. `answer` sees the request, and gives what is
    /// journaled or what is wrong by field.
    pub async fn answer(
        &self,
        app: &App,
        id: RunId,
        request: RequestId,
        answer: impl Fn(&InputRequest) -> Result<Answer, FieldErrors> + Send + Sync,
    ) -> Result<(), Error> {
        let run = self.get(app, id).await.map_err(|error| match error {
            get::Error::NotFound => Error::NotFound,
            get::Error::Store(error) => Error::Store(error),
        })?;
        if run.status.is_terminal() {
            return Err(invalid("the run has ended"));
        }
        let pending = run.input_requests.iter().find(|pending| pending.id == request);
        let asked = pending.ok_or_else(|| invalid(NOT_PENDING))?;
        let answer = answer(asked).map_err(Error::Invalid)?;
        let mut answerer = Answerer::new(id, self.new_claim(), request, asked.kind, answer);
        let answered = self.ports.drive(Target { app: app.id, run: id, new: None }, &mut answerer).await?;
        self.live.nudge(id);
        match answered {
            Answered::Now => Ok(()),
            Answered::NotPending => Err(invalid(NOT_PENDING)),
            Answered::Ended => Err(invalid("the run has ended")),
            Answered::NoRun => Err(Error::NotFound),
            Answered::Unknown => Err(StoreError::Unknown("the answer may not be recorded".into()).into()),
        }
    }
}

const NOT_PENDING: &str = "no such request is pending: it is unknown, was answered, or has expired";

fn invalid(problem: &str) -> Error {
    Error::Invalid(FieldErrors::from([("request_id".to_owned(), problem.to_owned())]))
}
