//! `POST /v1/runs/{run_id}/cancel`: end a run.

use super::{RunService, drive::Target, measure};
use crate::{
    Actor, App, Origin, RunId, StoreError,
    protocol::{Ended, Ender},
};

/// Why a run was not canceled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such run of this app.
    #[error("no such run")]
    NotFound,
    /// Only a caller with an access key may cancel it.
    #[error("an access key is required")]
    KeyNeeded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunService {
    /// Cancels a run; does nothing if it has ended. A caller without a key can only cancel runs that were created
    /// without one.
    ///
    /// Costs one read, and one write if the run has not ended; one more read for a caller without a key.
    pub async fn cancel(&self, app: &App, id: RunId, by: &Actor) -> Result<(), Error> {
        let head = self.ports.runs.head(id).await?;
        let head = head.filter(|head| head.app == app.id).ok_or(Error::NotFound)?;
        if by.key.is_none() {
            let stored = self.ports.runs.get(id).await?.ok_or(Error::NotFound)?;
            if stored.new.origin != Origin::Anonymous {
                return Err(Error::KeyNeeded);
            }
        }
        let mut ender = Ender::cancel(id, self.new_claim(), &head, self.ports.clock.now());
        let ended = self.ports.drive(Target { app: app.id, run: id, new: None }, &mut ender).await?;
        self.live.nudge(id);
        measure::ended_by(app.id, id, &ended);
        match ended {
            Ended::Now(_) | Ended::Before => Ok(()),
            Ended::NoRun => Err(Error::NotFound),
            Ended::Refused | Ended::Unknown => {
                Err(StoreError::Unknown("the run may or may not be canceled".into()).into())
            }
        }
    }
}
