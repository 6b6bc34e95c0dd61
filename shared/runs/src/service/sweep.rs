//! What the sweeper does every minute.

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

/// Maximum number of runs that are handled at the same time.
const MAX_CONCURRENT: usize = 64;

/// The result of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs that were due. If this equals the limit, there may be more: sweep again.
    pub looked_at: usize,
    /// Runs that were enqueued for a worker again.
    pub requeued: usize,
    /// Runs that were ended as failed: they expired, or lost too many workers.
    pub failed: usize,
    /// Runs that could not be read. They are tried again later.
    pub unreadable: usize,
    /// Runs and files that were deleted.
    pub deleted: usize,
}

/// How long an unreadable run is postponed; doubled after each further failure.
const MIN_POSTPONED: Duration = Duration::from_mins(1);

/// Maximum time that an unreadable run is postponed.
const MAX_POSTPONED: Duration = Duration::from_hours(1);

/// Maximum number of unreadable runs that are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// How often each run could not be read, in a row.
#[derive(Default)]
pub(super) struct Unreadable(Mutex<HashMap<RunId, u32>>);

impl Unreadable {
    /// Counts a failure; returns how long to postpone the run.
    fn failed(&self, run: RunId) -> Duration {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= MAX_REMEMBERED {
            runs.clear();
        }
        let failures = runs.entry(run).or_default();
        *failures += 1;
        MIN_POSTPONED.saturating_mul(1 << (*failures - 1).min(10)).min(MAX_POSTPONED)
    }

    fn forget(&self, run: RunId) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !runs.is_empty() {
            runs.remove(&run);
        }
    }
}

impl RunService {
    /// Handles up to `limit` runs that are due, and deletes up to `limit` expired runs and as many expired files.
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
            .buffer_unordered(MAX_CONCURRENT);
        let mut unavailable = None;
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
                    tracing::error!(%run, %app, %error, ?after, "cannot read a due run, trying again later");
                    if let Err(error) = self.ports.runs.postpone(run, now, now + after).await {
                        tracing::warn!(%run, %error, "cannot postpone an unreadable run");
                    }
                }
                // The store may succeed for the other runs.
                Err(error) => unavailable = Some(error),
            }
        }
        drop(sweeps);
        if let Some(error) = unavailable {
            return Err(error);
        }
        swept.deleted += self.ports.runs.delete_expired(now, limit).await?;
        swept.deleted += self.ports.files.delete_expired(now, limit).await?;
        Ok(swept)
    }
}
