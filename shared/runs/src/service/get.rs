//! `GET /v1/runs/{run_id}`: one run.

use super::{App, RunService};
use crate::{Run, RunId, StoreError};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such run of this app.
    #[error("no such run")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunService {
    /// One run of an app, as its log says.
    pub async fn get(&self, app: &App, id: RunId) -> Result<Run, Error> {
        let _ = (app, id);
        todo!()
    }
}
