//! What the sweeper does each minute.

use super::{RunService, drive::Target};
use crate::{
    StoreError,
    protocol::{Sweep, Swept as One},
};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs that were brought to a worker again.
    pub requeued: usize,
    /// Runs that were failed: expired, or lost by too many workers.
    pub failed: usize,
    /// Runs and files that were deleted.
    pub deleted: usize,
}

impl RunService {
    /// Looks at up to `limit` runs that are due, and removes up to `limit` runs and files that expired.
    pub async fn sweep(&self, limit: usize) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let now = self.ports.clock.now();
        for (app, run) in self.ports.runs.due(now, limit).await? {
            let target = Target { app, run, new: None };
            match self.ports.drive(target, &mut Sweep::new(run, self.new_claim())).await? {
                One::Requeued => swept.requeued += 1,
                One::Failed => swept.failed += 1,
                One::Repaired | One::Nothing => {}
            }
        }
        swept.deleted += self.ports.runs.delete_expired(now, limit).await?;
        swept.deleted += self.ports.files.delete_expired(now, limit).await?;
        Ok(swept)
    }
}
