//! `POST /v1/runs/{run_id}/cancel`: end a run.

use super::{RunService, drive::Target, get::Error, measure};
use crate::{
    App, RunId, StoreError,
    protocol::{Ended, Ender},
};

impl RunService {
    /// Ends a run as canceled; does nothing if it has ended. One read, and one write if it has not.
    pub async fn cancel(&self, app: &App, id: RunId) -> Result<(), Error> {
        let head = self.ports.runs.head(id).await?;
        let head = head.filter(|head| head.app == app.id).ok_or(Error::NotFound)?;
        let mut ender = Ender::cancel(id, self.new_claim(), &head, self.ports.clock.now());
        let ended = self.ports.drive(Target { app: app.id, run: id, new: None }, &mut ender).await?;
        self.live.nudge(id);
        measure::ended_by(app.id, id, &ended);
        match ended {
            Ended::Now(_) | Ended::Before => Ok(()),
            Ended::NoRun => Err(Error::NotFound),
            Ended::Refused | Ended::Unknown => {
                Err(StoreError::Unknown("the run may not be canceled yet".into()).into())
            }
        }
    }
}
