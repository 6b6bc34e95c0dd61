//! The executions of this process, so that followers and cancels reach the executor of a run without the store.

use crate::{Entry, Logged, RunId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio::sync::{Notify, broadcast};

/// Maximum number of entries that a follower may lag behind before it reads the store again.
const MAX_LAG: usize = 16;

/// Larger entries are not kept in memory for followers that lag behind: they read the store.
const MAX_ENTRY_BYTES: usize = 64 << 10;

/// What a follower receives.
#[derive(Clone)]
pub(crate) enum News {
    /// This entry was written.
    Entry(Arc<Entry>),
    /// An entry was written: read the log.
    Look,
}

/// All executions of this process.
#[derive(Default)]
pub(crate) struct LiveRuns {
    runs: Mutex<HashMap<RunId, Arc<Live>>>,
}

/// One execution.
#[derive(Default)]
pub(crate) struct Live {
    /// Woken when another participant wrote to the run's log.
    pub(crate) nudge: Notify,
    /// Created for the first follower.
    entries: OnceLock<broadcast::Sender<News>>,
    expected: Mutex<Option<broadcast::Receiver<News>>>,
}

impl Live {
    /// Keeps entries that are written from now on for the first follower.
    pub(crate) fn expect_follower(&self) {
        let receiver = self.subscribe();
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
    }

    /// Returns the entries since [`Live::expect_follower`], for the expected follower.
    pub(crate) fn take_expected(&self) -> Option<broadcast::Receiver<News>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the entries that the execution writes from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.entries.get_or_init(|| broadcast::Sender::new(MAX_LAG)).subscribe()
    }

    /// Sends entries that are on disk to followers.
    pub(crate) fn publish(&self, entries: Vec<Arc<Entry>>) {
        if let Some(sender) = self.entries.get() {
            for entry in entries {
                let bytes: usize = entry.events.iter().map(Logged::bytes).sum();
                let _ = sender.send(if bytes <= MAX_ENTRY_BYTES { News::Entry(entry) } else { News::Look });
            }
        }
    }
}

impl LiveRuns {
    /// Registers an execution until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, run: RunId, live: Arc<Live>) -> Entered {
        self.lock().insert(run, Arc::clone(&live));
        Entered { runs: Arc::clone(self), run, live }
    }

    /// Returns the execution of this run, if this process executes it.
    pub(crate) fn find(&self, run: RunId) -> Option<Arc<Live>> {
        self.lock().get(&run).cloned()
    }

    /// Notifies the execution of this run, if any, that another participant wrote to its log.
    pub(crate) fn nudge(&self, run: RunId) {
        if let Some(live) = self.find(run) {
            live.nudge.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Live>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps an execution registered until this is dropped.
pub(crate) struct Entered {
    runs: Arc<LiveRuns>,
    run: RunId,
    live: Arc<Live>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut runs = self.runs.lock();
        // A later execution of the same run may have replaced this one.
        if runs.get(&self.run).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            runs.remove(&self.run);
        }
    }
}
