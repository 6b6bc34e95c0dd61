//! Which nodes of a run work, and which only wait for a point in time. Once all of them wait, the run can rest until
//! the earliest of these times.

use runyard_runs::{RunContext, Timestamp};
use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
};

/// The working nodes of one execution, and the times that its other nodes wait for.
#[derive(Debug, Default)]
pub(crate) struct RestTracker {
    /// Nodes that work themselves. Nodes that wait for nodes that they contain are not counted.
    working: AtomicUsize,
    /// Incremented by every change, so that a poll can detect changes during it.
    changes: AtomicU64,
    moments: Mutex<Moments>,
}

#[derive(Debug, Default)]
struct Moments {
    /// When resting nodes continue.
    rests: Vec<Timestamp>,
    /// When nodes with a timeout end, whether they rest or not.
    timeouts: Vec<Timestamp>,
}

/// A node's work or rest, until it is dropped.
pub(crate) struct ActivityGuard<'a> {
    rests: &'a RestTracker,
    activity: Activity,
}

#[derive(Clone, Copy)]
enum Activity {
    Works,
    Holds,
    RestTracker(Timestamp),
    Timeout(Timestamp),
}

impl RestTracker {
    /// A node works.
    pub(crate) fn works(&self) -> ActivityGuard<'_> {
        self.begin(Activity::Works)
    }

    /// A working node waits only for nodes that it contains.
    pub(crate) fn holds(&self) -> ActivityGuard<'_> {
        self.begin(Activity::Holds)
    }

    /// A working node waits for a point in time.
    pub(crate) fn until(&self, moment: Timestamp) -> ActivityGuard<'_> {
        self.begin(Activity::RestTracker(moment))
    }

    /// A node's timeout ends at this time. The run must not rest beyond it.
    pub(crate) fn timeout(&self, moment: Timestamp) -> ActivityGuard<'_> {
        self.begin(Activity::Timeout(moment))
    }

    /// Does `work`. If all its nodes rest until a time that is far enough away to leave the run, returns that time
    /// instead.
    pub(crate) async fn unless_all_rest<T>(
        &self,
        run: &RunContext,
        work: impl Future<Output = T>,
    ) -> Result<T, Timestamp> {
        let mut work = pin!(work);
        poll_fn(|context| {
            let before = self.changes.load(Ordering::Relaxed);
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            let Some(until) = self.all_rest(run) else { return Poll::Pending };
            if self.changes.load(Ordering::Relaxed) == before {
                return Poll::Ready(Err(until));
            }
            // Something changed during the poll: other nodes may be ready to work.
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// The time until which all nodes rest, if it is far enough away to leave the run.
    fn all_rest(&self, run: &RunContext) -> Option<Timestamp> {
        let worth_leaving = run.rests_from()?;
        if self.working.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let moments = self.moments();
        let first = moments.rests.iter().min().copied()?;
        let stays = moments.timeouts.iter().any(|timeout| *timeout < first);
        (!stays && first.since(run.now()) > worth_leaving).then_some(first)
    }

    fn begin(&self, activity: Activity) -> ActivityGuard<'_> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        match activity {
            Activity::Works => self.begin_work(),
            Activity::Holds => self.end_work(),
            Activity::RestTracker(moment) => {
                self.moments().rests.push(moment);
                self.end_work();
            }
            Activity::Timeout(moment) => self.moments().timeouts.push(moment),
        }
        ActivityGuard { rests: self, activity }
    }

    fn begin_work(&self) {
        self.working.fetch_add(1, Ordering::Relaxed);
    }

    fn end_work(&self) {
        self.working.fetch_sub(1, Ordering::Relaxed);
    }

    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ActivityGuard<'_> {
    fn drop(&mut self) {
        let rests = self.rests;
        rests.changes.fetch_add(1, Ordering::Relaxed);
        let remove = |moments: &mut Vec<Timestamp>, moment| {
            if let Some(index) = moments.iter().position(|found| *found == moment) {
                moments.swap_remove(index);
            }
        };
        match self.activity {
            Activity::Works => rests.end_work(),
            Activity::Holds => rests.begin_work(),
            Activity::RestTracker(moment) => {
                remove(&mut rests.moments().rests, moment);
                rests.begin_work();
            }
            Activity::Timeout(moment) => remove(&mut rests.moments().timeouts, moment),
        }
    }
}
