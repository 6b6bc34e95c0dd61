//! `POST /v1/runs/{run_id}/input`: answer a run's question.

use super::{App, RunService};
use crate::{Answer, FieldErrors, InputRequest, RequestId, RunId, StoreError};

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
        let _ = (app, id, request, &answer);
        todo!()
    }
}
