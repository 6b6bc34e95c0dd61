//! Permits for the runs of an app that this process executes at the same time.

use crate::{App, AppId, TakenMemory, room::RunMemory};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts executions by app.
#[derive(Default)]
pub(crate) struct RunPermits {
    taken: Mutex<HashMap<AppId, u32>>,
}

impl RunPermits {
    /// Takes a permit of the app for a run with this memory; `None` if `limits.concurrent_runs` permits are taken.
    pub(crate) fn take(self: &Arc<Self>, app: &App, memory: TakenMemory) -> Option<RunPermit> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(app.id).or_default();
        if *count >= app.limits.concurrent_runs {
            return None;
        }
        *count += 1;
        Some(RunPermit { slots: Arc::clone(self), app: app.id, memory: RunMemory::new(memory) })
    }
}

/// The permit of one execution, returned when this is dropped.
pub(crate) struct RunPermit {
    slots: Arc<RunPermits>,
    app: AppId,
    pub(crate) memory: RunMemory,
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.app) {
            *count -= 1;
        }
    }
}
