//! The queue of this process.

use async_trait::async_trait;
use runyard_runs::{AppId, RunId, RunQueue, StoreError};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tracing::warn;

/// Maximum number of waiting runs; any further one is found later by its `due`. 16 bytes each, 40 while delayed.
const CAPACITY: usize = 1 << 20;

/// [`RunQueue`] in memory, for the workers of this process.
///
/// It is intentionally lost with the process: a run is on disk before it is enqueued, and is enqueued again once it is
/// due. Apps take turns, so that an app with many runs does not delay the others or take all workers. Runs that have
/// lost a worker come before all others.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    ready: HashMap<AppId, Ready>,
    /// The apps that have runs in `ready`, in the order of their turns.
    turns: VecDeque<AppId>,
    delayed: BinaryHeap<Reverse<(Instant, AppId, RunId, bool)>>,
    len: usize,
    /// How many of the runs that are ready have lost a worker.
    resumed: usize,
    /// How many runs of each app workers hold.
    taken: HashMap<AppId, usize>,
}

/// The waiting runs of one app, new and resumed ones in the order of their arrival.
#[derive(Default)]
struct Ready {
    /// Runs that have lost a worker.
    resumed: VecDeque<RunId>,
    new: VecDeque<RunId>,
}

impl Ready {
    fn is_empty(&self) -> bool {
        self.resumed.is_empty() && self.new.is_empty()
    }
}

/// A run that a worker holds, until this is dropped.
pub struct HeldRun {
    queue: Arc<Queue>,
    app: AppId,
    run: RunId,
}

impl HeldRun {
    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Its app.
    pub fn app(&self) -> AppId {
        self.app
    }
}

impl Drop for HeldRun {
    fn drop(&mut self) {
        self.queue.lock().release(self.app);
        self.queue.changed.notify_one();
    }
}

impl Queue {
    /// Waits for the next run of an app of which workers hold fewer than `limit` runs. Cancel-safe.
    pub async fn take(self: &Arc<Self>, limit: usize) -> HeldRun {
        let (app, run) = self.next(limit).await;
        HeldRun { queue: Arc::clone(self), app, run }
    }

    /// Waits for the next run of any app, for a caller that does not report when it is done. Cancel-safe.
    pub async fn receive(&self) -> (AppId, RunId) {
        let (app, run) = self.next(usize::MAX).await;
        self.lock().release(app);
        (app, run)
    }

    async fn next(&self, limit: usize) -> (AppId, RunId) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let until = {
                let mut state = self.lock();
                if let Some(next) = state.next(Instant::now(), limit) {
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

    /// The number of waiting runs, including delayed ones.
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Whether no run is waiting.
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
        self.add(app, run, delay, false);
        Ok(())
    }

    async fn enqueue_first(&self, app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError> {
        self.add(app, run, delay, true);
        Ok(())
    }
}

impl Queue {
    fn add(&self, app: AppId, run: RunId, delay: Duration, resumes: bool) {
        {
            let mut state = self.lock();
            if state.len >= CAPACITY {
                warn!(%run, "the queue is full: the run waits until it is due");
                return;
            }
            state.len += 1;
            if delay.is_zero() {
                state.make_ready(app, run, resumes);
            } else {
                state.delayed.push(Reverse((Instant::now() + delay, app, run, resumes)));
            }
        }
        self.changed.notify_one();
    }
}

impl State {
    fn make_ready(&mut self, app: AppId, run: RunId, resumes: bool) {
        let runs = self.ready.entry(app).or_default();
        if runs.is_empty() {
            self.turns.push_back(app);
        }
        if resumes {
            runs.resumed.push_back(run);
            self.resumed += 1;
        } else {
            runs.new.push_back(run);
        }
    }

    fn next(&mut self, now: Instant, limit: usize) -> Option<(AppId, RunId)> {
        while let Some(Reverse((at, app, run, resumes))) = self.delayed.peek().copied()
            && at <= now
        {
            self.delayed.pop();
            self.make_ready(app, run, resumes);
        }
        let has_room = |app: &AppId| self.taken.get(app).is_none_or(|taken| *taken < limit);
        let resumes = |app: &AppId| self.ready.get(app).is_some_and(|runs| !runs.resumed.is_empty());
        let first = if self.resumed > 0 {
            self.turns.iter().position(|app| has_room(app) && resumes(app))
        } else {
            None
        };
        let turn = first.or_else(|| self.turns.iter().position(has_room))?;
        let app = self.turns.remove(turn)?;
        let runs = self.ready.get_mut(&app)?;
        let run = match runs.resumed.pop_front() {
            Some(run) => {
                self.resumed -= 1;
                run
            }
            None => runs.new.pop_front()?,
        };
        if runs.is_empty() {
            self.ready.remove(&app);
        } else {
            self.turns.push_back(app);
        }
        self.len -= 1;
        *self.taken.entry(app).or_default() += 1;
        Some((app, run))
    }

    fn release(&mut self, app: AppId) {
        if let Some(taken) = self.taken.get_mut(&app) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(&app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use uuid::Uuid;

    fn app(number: u128) -> AppId {
        AppId(Uuid::from_u128(number))
    }

    fn run(number: u128) -> RunId {
        RunId(Uuid::from_u128(number))
    }

    async fn fill(queue: &Queue, of: AppId, numbers: std::ops::Range<u128>) {
        for number in numbers {
            queue.enqueue(of, run(number), Duration::ZERO).await.expect("it is enqueued");
        }
    }

    #[tokio::test]
    async fn an_app_cannot_take_all_workers() {
        let queue = Arc::new(Queue::default());
        fill(&queue, app(1), 0..10).await;
        let mut held = Vec::new();
        for number in 0..3 {
            let taken = queue.take(3).await;
            assert_eq!((taken.app(), taken.run()), (app(1), run(number)), "in the order of arrival");
            held.push(taken);
        }
        assert!(queue.take(3).now_or_never().is_none(), "the other workers are left to other apps");
        fill(&queue, app(2), 10..11).await;
        let other = queue.take(3).await;
        assert_eq!((other.app(), other.run()), (app(2), run(10)));
        drop(held.pop());
        assert_eq!(queue.take(3).await.run(), run(3));
        assert_eq!(queue.len(), 6);
    }

    #[tokio::test]
    async fn a_waiting_worker_is_woken_when_its_app_is_below_the_limit() {
        let queue = Arc::new(Queue::default());
        fill(&queue, app(1), 0..2).await;
        let held = queue.take(1).await;
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.take(1).await.run() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        let next = tokio::time::timeout(Duration::from_mins(1), waiting).await;
        assert_eq!(next.expect("the worker is woken").expect("no panic"), run(1));
    }

    #[tokio::test]
    async fn runs_that_lost_a_worker_come_first() {
        let queue = Arc::new(Queue::default());
        fill(&queue, app(1), 0..3).await;
        fill(&queue, app(2), 3..6).await;
        for number in [100, 101] {
            queue.enqueue_first(app(2), run(number), Duration::ZERO).await.expect("it is enqueued");
        }
        queue.enqueue_first(app(3), run(102), Duration::ZERO).await.expect("it is enqueued");
        let mut taken = Vec::new();
        while let Some(next) = queue.receive().now_or_never() {
            taken.push(next.1.0.as_u128());
        }
        let (first, then) = taken.split_at(3);
        assert_eq!(first, [100, 102, 101]);
        assert_eq!(then.len(), 6);
        assert!(
            then.iter().filter(|number| **number < 3).is_sorted(),
            "the runs of an app stay in order: {then:?}"
        );
    }
}
