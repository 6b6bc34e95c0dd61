//! `POST /v1/runs/{run_id}/cancel`: end a run.

use super::{App, RunService, get::Error};
use crate::RunId;

impl RunService {
    /// Ends a run as canceled; does nothing if it has ended.
    pub async fn cancel(&self, app: &App, id: RunId) -> Result<(), Error> {
        let _ = (app, id);
        todo!()
    }
}
