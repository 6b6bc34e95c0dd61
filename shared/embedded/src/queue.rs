//! The queue of this process.

use async_trait::async_trait;
use runyard_runs::{AppId, RunId, RunQueue, StoreError};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tracing::warn;

/// So many runs wait at most; what comes on top is found by its `due`, later. 16 bytes each, 40 while delayed.
const CAPACITY: usize = 1 << 20;

/// [`RunQueue`] in memory, for the workers of this process.
///
/// It is lost with the process on purpose: a run is on disk before it comes here, and its `due` brings it back. Apps
/// take turns, so that one with many runs does not keep another's waiting.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    ready: HashMap<AppId, VecDeque<RunId>>,
    /// The apps that have runs in `ready`, in the order of their turns.
    turns: VecDeque<AppId>,
    delayed: BinaryHeap<Reverse<(Instant, AppId, RunId)>>,
    len: usize,
}

impl Queue {
    /// The next run for a worker; waits until there is one. Safe to cancel.
    pub async fn receive(&self) -> (AppId, RunId) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let until = {
                let mut state = self.lock();
                if let Some(next) = state.next(Instant::now()) {
                    if state.len > 0 {
                        self.changed.notify_one();
                    }
                    return next;
                }
                state.delayed.peek().map(|Reverse((at, ..))| *at)
            };
            match until {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// How many runs wait, delayed ones included.
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RunQueue for Queue {
    async fn enqueue(&self, app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError> {
        {
            let mut state = self.lock();
            if state.len >= CAPACITY {
                warn!(%run, "the queue is full: the run waits until it is due");
                return Ok(());
            }
            state.len += 1;
            if delay.is_zero() {
                state.make_ready(app, run);
            } else {
                state.delayed.push(Reverse((Instant::now() + delay, app, run)));
            }
        }
        self.changed.notify_one();
        Ok(())
    }
}

impl State {
    fn make_ready(&mut self, app: AppId, run: RunId) {
        let runs = self.ready.entry(app).or_default();
        if runs.is_empty() {
            self.turns.push_back(app);
        }
        runs.push_back(run);
    }

    fn next(&mut self, now: Instant) -> Option<(AppId, RunId)> {
        while let Some(Reverse((at, app, run))) = self.delayed.peek().copied()
            && at <= now
        {
            self.delayed.pop();
            self.make_ready(app, run);
        }
        let app = self.turns.pop_front()?;
        let runs = self.ready.get_mut(&app)?;
        let run = runs.pop_front()?;
        if runs.is_empty() {
            self.ready.remove(&app);
        } else {
            self.turns.push_back(app);
        }
        self.len -= 1;
        Some((app, run))
    }
}
