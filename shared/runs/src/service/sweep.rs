//! What the sweeper does each minute.

use super::{RunService, drive::Target, measure};
use crate::{
    RunStatus, StoreError,
    protocol::{Sweep, Swept as One},
};
use futures::{StreamExt, stream};

/// So many runs are looked at at the same time.
const AT_ONCE: usize = 64;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs that were due. As many as the limit: there may be more, sweep again.
    pub looked_at: usize,
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
        let due = self.ports.runs.due(now, limit).await?;
        swept.looked_at = due.len();
        let mut sweeps = stream::iter(due)
            .map(|(app, run)| async move {
                let target = Target { app, run, new: None };
                let one = self.ports.drive(target, &mut Sweep::new(run, self.new_claim())).await;
                if let Ok(One::Failed) = one {
                    measure::ended(app, run, RunStatus::Failed, now);
                }
                one
            })
            .buffer_unordered(AT_ONCE);
        while let Some(one) = sweeps.next().await {
            match one? {
                One::Requeued => swept.requeued += 1,
                One::Failed => swept.failed += 1,
                One::Repaired | One::Nothing => {}
            }
        }
        drop(sweeps);
        swept.deleted += self.ports.runs.delete_expired(now, limit).await?;
        swept.deleted += self.ports.files.delete_expired(now, limit).await?;
        Ok(swept)
    }
}
