//! How many runs of an app this process executes at the same time.

use crate::{App, AppId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts executions by app.
#[derive(Default)]
pub(crate) struct Slots {
    taken: Mutex<HashMap<AppId, u32>>,
}

impl Slots {
    /// A slot of the app, unless it has as many as its limits allow.
    pub(crate) fn take(self: &Arc<Self>, app: &App) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(app.id).or_default();
        if *count >= app.limits.concurrent_runs {
            return None;
        }
        *count += 1;
        Some(Slot { slots: Arc::clone(self), app: app.id })
    }
}

/// One execution's slot, until it is dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    app: AppId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.app) {
            *count -= 1;
        }
    }
}
