//! What goes on in a run, and what only waits for a moment: once nothing else goes on, the run can be left until then.

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

/// The nodes of one execution that go on, and the moments that others wait for.
#[derive(Debug, Default)]
pub(crate) struct Rests {
    /// Nodes that do something themselves: those that wait for nodes that they hold are not among them.
    working: AtomicUsize,
    /// Raised by every change, so that one that is half done is told from one that is over.
    changes: AtomicU64,
    moments: Mutex<Moments>,
}

#[derive(Debug, Default)]
struct Moments {
    /// When what rests goes on.
    rests: Vec<Timestamp>,
    /// When what has a timeout ends, whether it rests or not.
    timeouts: Vec<Timestamp>,
}

/// Something that goes on or rests, until it is dropped.
pub(crate) struct Stay<'a> {
    rests: &'a Rests,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Works,
    Holds,
    Rests(Timestamp),
    Timeout(Timestamp),
}

impl Rests {
    /// A node is being run.
    pub(crate) fn works(&self) -> Stay<'_> {
        self.begin(What::Works)
    }

    /// A node that is being run waits for nodes that it holds and for nothing else.
    pub(crate) fn holds(&self) -> Stay<'_> {
        self.begin(What::Holds)
    }

    /// A node that is being run waits for a moment.
    pub(crate) fn until(&self, moment: Timestamp) -> Stay<'_> {
        self.begin(What::Rests(moment))
    }

    /// A node fails at this moment: who is not there then misses it.
    pub(crate) fn timeout(&self, moment: Timestamp) -> Stay<'_> {
        self.begin(What::Timeout(moment))
    }

    /// Does `work`, unless nothing of it goes on before a moment that is worth leaving the run for: that one then.
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
            // A node whose turn has not come yet may have something to do.
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// The moment before which nothing goes on, if it is worth leaving the run for.
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

    fn begin(&self, what: What) -> Stay<'_> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        match what {
            What::Works => self.go_on(),
            What::Holds => self.cease(),
            What::Rests(moment) => {
                self.moments().rests.push(moment);
                self.cease();
            }
            What::Timeout(moment) => self.moments().timeouts.push(moment),
        }
        Stay { rests: self, what }
    }

    fn go_on(&self) {
        self.working.fetch_add(1, Ordering::Relaxed);
    }

    fn cease(&self) {
        self.working.fetch_sub(1, Ordering::Relaxed);
    }

    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let rests = self.rests;
        rests.changes.fetch_add(1, Ordering::Relaxed);
        let forget = |moments: &mut Vec<Timestamp>, moment| {
            if let Some(place) = moments.iter().position(|found| *found == moment) {
                moments.swap_remove(place);
            }
        };
        match self.what {
            What::Works => rests.cease(),
            What::Holds => rests.go_on(),
            What::Rests(moment) => {
                forget(&mut rests.moments().rests, moment);
                rests.go_on();
            }
            What::Timeout(moment) => forget(&mut rests.moments().timeouts, moment),
        }
    }
}
