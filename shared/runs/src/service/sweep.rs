//! What the sweeper does each minute.

use super::{RunService, drive::Target, measure};
use crate::{
    RunId, RunStatus, StoreError,
    protocol::{Sweep, Swept as One},
};
use futures::{StreamExt, stream};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Runs that are looked at at the same time.
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
    /// Runs that could not be read. They are looked at again later.
    pub unreadable: usize,
    /// Runs and files that were deleted.
    pub deleted: usize,
}

/// When a run is looked at again that could not be read, and twice as long after each time that it could not.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// At the latest.
const LOOK_AGAIN_MOST: Duration = Duration::from_hours(1);

/// The number of unreadable runs that are remembered.
const REMEMBERED: usize = 10_000;

/// How often each run could not be read.
#[derive(Default)]
pub(super) struct Unreadable(Mutex<HashMap<RunId, u32>>);

impl Unreadable {
    /// In what time to look at the run again.
    fn failed(&self, run: RunId) -> Duration {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= REMEMBERED {
            runs.clear();
        }
        let failures = runs.entry(run).or_default();
        *failures += 1;
        LOOK_AGAIN.saturating_mul(1 << (*failures - 1).min(10)).min(LOOK_AGAIN_MOST)
    }

    fn forget(&self, run: RunId) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !runs.is_empty() {
            runs.remove(&run);
        }
    }
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
                (app, run, one)
            })
            .buffer_unordered(AT_ONCE);
        let mut silent = None;
        while let Some((app, run, one)) = sweeps.next().await {
            match one {
                Ok(one) => {
                    self.unreadable.forget(run);
                    match one {
                        One::Requeued => swept.requeued += 1,
                        One::Failed => swept.failed += 1,
                        One::Repaired | One::Nothing => {}
                    }
                }
                Err(StoreError::Failed(error)) => {
                    swept.unreadable += 1;
                    measure::unreadable(app, run);
                    let after = self.unreadable.failed(run);
                    tracing::error!(%run, %app, %error, ?after, "a run cannot be read: it is looked at again later");
                    if let Err(error) = self.ports.runs.postpone(run, now, now + after).await {
                        tracing::warn!(%run, %error, "nor can it be put off");
                    }
                }
                // The others may fare better.
                Err(error) => silent = Some(error),
            }
        }
        drop(sweeps);
        if let Some(error) = silent {
            return Err(error);
        }
        swept.deleted += self.ports.runs.delete_expired(now, limit).await?;
        swept.deleted += self.ports.files.delete_expired(now, limit).await?;
        Ok(swept)
    }
}
