//! The executions of this process: who follows or cancels a run reaches its executor without the store.

use crate::{Entry, Logged, RunId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio::sync::{Notify, broadcast};

/// Entries that a follower may lag behind before it reads the store again.
const LAG: usize = 16;

/// Larger entries are not kept for those who lag: they read the store.
const SMALL: usize = 64 << 10;

/// What a follower is told.
#[derive(Clone)]
pub(crate) enum News {
    /// This was written.
    Entry(Arc<Entry>),
    /// Something was written: look at the log.
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
    /// Woken when somebody else wrote to the run's log.
    pub(crate) nudge: Notify,
    /// Made for the first follower.
    entries: OnceLock<broadcast::Sender<News>>,
    expected: Mutex<Option<broadcast::Receiver<News>>>,
}

impl Live {
    /// Keeps what is written from now on for a follower that is about to come.
    pub(crate) fn expect_follower(&self) {
        let receiver = self.subscribe();
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
    }

    /// The entries since [`Live::expect_follower`], for the follower that was expected.
    pub(crate) fn take_expected(&self) -> Option<broadcast::Receiver<News>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The entries that the execution writes from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.entries.get_or_init(|| broadcast::Sender::new(LAG)).subscribe()
    }

    /// Shows entries that are on disk to who follows.
    pub(crate) fn publish(&self, entries: Vec<Arc<Entry>>) {
        if let Some(sender) = self.entries.get() {
            for entry in entries {
                let bytes: usize = entry.events.iter().map(Logged::bytes).sum();
                let _ = sender.send(if bytes <= SMALL { News::Entry(entry) } else { News::Look });
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

    /// The execution of this run, if this process executes it.
    pub(crate) fn find(&self, run: RunId) -> Option<Arc<Live>> {
        self.lock().get(&run).cloned()
    }

    /// Tells the execution of this run, if any, that somebody wrote to its log.
    pub(crate) fn nudge(&self, run: RunId) {
        if let Some(live) = self.find(run) {
            live.nudge.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Live>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers an execution while it lives.
pub(crate) struct Entered {
    runs: Arc<LiveRuns>,
    run: RunId,
    live: Arc<Live>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut runs = self.runs.lock();
        // A later execution of the same run may have taken the place.
        if runs.get(&self.run).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            runs.remove(&self.run);
        }
    }
}
