//! Tasks that wait for a run's log to grow.

use super::read;
use runyard_runs::{RunId, Sequence};
use rusqlite::Connection;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, futures::Notified};

/// The waiting tasks, by run. Has no entry for a run without any.
#[derive(Default)]
pub(crate) struct Waiters {
    runs: Mutex<HashMap<RunId, Waited>>,
}

struct Waited {
    notify: Arc<Notify>,
    /// The lowest of the sequences that they have seen.
    after: Sequence,
    waiters: usize,
}

impl Waiters {
    /// Registers a task that has seen the log of `run` up to `after`.
    pub(super) fn register(self: &Arc<Self>, run: RunId, after: Sequence) -> Waiter {
        let mut runs = self.lock();
        let is_first = runs.is_empty();
        let waited = runs.entry(run).or_insert_with(|| Waited { notify: Arc::default(), after, waiters: 0 });
        waited.waiters += 1;
        waited.after = waited.after.min(after);
        Waiter { waiters: Arc::clone(self), run, notify: Arc::clone(&waited.notify), is_first }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Wakes the tasks that wait for `run`: its log has grown.
    pub(super) fn wake(&self, run: RunId) {
        if let Some(waited) = self.lock().get(&run) {
            waited.notify.notify_waiters();
        }
    }

    /// Wakes the tasks whose logs have grown, by writes of another process.
    pub(crate) fn wake_grown(&self, connection: &Connection) {
        let runs: Vec<_> = self.lock().iter().map(|(run, waited)| (*run, waited.after)).collect();
        for (run, after) in runs {
            if !read::last_sequence(connection, run).is_ok_and(|last| last <= after) {
                self.wake(run);
            }
        }
    }

    /// Wakes all tasks: it is unknown which logs have grown.
    pub(crate) fn wake_all(&self) {
        self.lock().values().for_each(|waited| waited.notify.notify_waiters());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Waited>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waiting task, until this is dropped.
pub(super) struct Waiter {
    waiters: Arc<Waiters>,
    run: RunId,
    notify: Arc<Notify>,
    is_first: bool,
}

impl Waiter {
    pub(super) fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }

    /// Whether no other task was waiting, for any run.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut runs = self.waiters.lock();
        if let Some(waited) = runs.get_mut(&self.run) {
            waited.waiters -= 1;
            if waited.waiters == 0 {
                runs.remove(&self.run);
            }
        }
    }
}
