//! Threads for computations that are too long for an async thread, and a queue in which apps take turns.

use super::meter::{self, Budget, Exceeded, Limits};
use crate::flow::NodeError;
use runyard_runs::AppId;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// Threads at most, on any number of processors: as many computations hold their memory at the same time.
const MAX_THREADS: usize = 4;

/// Address space for the stack of a thread; only the used part takes memory.
const STACK_BYTES: usize = 16 << 20;

/// Timeout of a job, in seconds. Steps end a job long before, unless a library does much work that counts as one step.
/// Such a job cannot be stopped, and its thread is replaced.
const TIMEOUT_SECONDS: u32 = 10;

/// Replaced threads that may exist at the same time.
const MAX_LOST: usize = 4;

/// The threads' niceness: they get less of a busy processor than others.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Returns whether its thread continues.
type Job = Box<dyn FnOnce() -> bool + Send>;

/// How many threads to start: one processor is left to everything else.
pub(super) fn threads() -> usize {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.saturating_sub(1).clamp(1, MAX_THREADS)
}

/// Threads for computations. The process does not wait for them when it ends.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: usize,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    added: Condvar,
}

#[derive(Default)]
struct Queue {
    /// By app; apps without jobs have no entry.
    jobs: HashMap<AppId, VecDeque<Job>>,
    /// The apps that have jobs, each once; the first is next.
    turns: VecDeque<AppId>,
    threads: usize,
    idle: usize,
    /// Replaced threads, whose jobs do not end.
    lost: usize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("turns", &self.turns).finish_non_exhaustive()
    }
}

/// The state of a job, shared with the thread that performs it.
#[derive(Debug, Default)]
struct Ticket {
    /// Set when the job is canceled.
    stop: Arc<AtomicBool>,
    started: AtomicBool,
    ended: AtomicBool,
    /// Whether its thread has been replaced, and ends with the job.
    lost: AtomicBool,
}

/// Stops the job when dropped, and replaces its thread if the job does not stop.
struct CancelOnDrop {
    ticket: Arc<Ticket>,
    shared: Arc<Shared>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let ticket = Arc::clone(&self.ticket);
        ticket.stop.store(true, Ordering::Relaxed);
        if !ticket.started.load(Ordering::Acquire) || ticket.ended.load(Ordering::Acquire) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                shared.lose(&ticket);
            });
        }
    }
}

impl Pool {
    pub(super) fn new(threads: usize) -> Self {
        Self { shared: Arc::default(), threads }
    }

    /// Runs a job within `budget`, when it is the app's turn. Dropping the future stops the job.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        app: AppId,
        what: &'static str,
        budget: Budget,
        job: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let ticket = Arc::new(Ticket::default());
        let waiting = CancelOnDrop { ticket: Arc::clone(&ticket), shared: Arc::clone(&self.shared) };
        let (done, mut result) = oneshot::channel();
        self.add(
            app,
            Box::new(move || {
                if ticket.stop.load(Ordering::Relaxed) {
                    return true;
                }
                ticket.started.store(true, Ordering::Release);
                let stop = Some(Arc::clone(&ticket.stop));
                let result = meter::within(Limits { budget, stop }, job);
                ticket.ended.store(true, Ordering::Release);
                let _ = done.send(result);
                !ticket.lost.load(Ordering::Acquire)
            }),
        );
        let mut seconds = 0;
        loop {
            let waited = tokio::time::timeout(Duration::from_secs(1), &mut result).await;
            let result: Result<Result<Result<T, NodeError>, Exceeded>, _> = match waited {
                Ok(result) => result,
                Err(_) if seconds < TIMEOUT_SECONDS => {
                    seconds += u32::from(waiting.ticket.started.load(Ordering::Acquire));
                    continue;
                }
                Err(_) => {
                    waiting.ticket.stop.store(true, Ordering::Relaxed);
                    self.shared.lose(&waiting.ticket);
                    return Err(NodeError::limit_exceeded(format!(
                        "{what} took longer than {TIMEOUT_SECONDS} s"
                    )));
                }
            };
            return match result {
                Ok(Ok(result)) => result,
                Ok(Err(exceeded)) => Err(exceeded.error(what)),
                Err(_) => Err(meter::panicked()),
            };
        }
    }

    fn add(&self, app: AppId, job: Job) {
        let mut queue = self.shared.lock();
        queue.add(app, job);
        if queue.idle == 0 && queue.threads < self.threads {
            self.shared.start(&mut queue);
        }
        if queue.threads + queue.lost == 0 {
            // No thread will take the jobs: dropping them wakes their callers.
            queue.clear();
        }
        drop(queue);
        self.shared.added.notify_one();
    }
}

impl Queue {
    fn add(&mut self, app: AppId, job: Job) {
        let jobs = self.jobs.entry(app).or_default();
        if jobs.is_empty() {
            self.turns.push_back(app);
        }
        jobs.push_back(job);
    }

    /// The next job: the first one of the next app, which then moves to the end of the queue.
    fn next(&mut self) -> Option<Job> {
        let app = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&app)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&app);
        } else {
            self.turns.push_back(app);
        }
        job
    }

    fn clear(&mut self) {
        self.jobs.clear();
        self.turns.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, queue: &mut Queue) {
        let shared = Arc::clone(self);
        let started = thread::Builder::new()
            .name("compute".into())
            .stack_size(STACK_BYTES)
            .spawn(move || shared.work());
        match started {
            Ok(_) => queue.threads += 1,
            Err(error) => tracing::warn!(%error, "cannot start a thread for computations"),
        }
    }

    /// Replaces the thread of a job that does not end.
    fn lose(self: &Arc<Self>, ticket: &Ticket) {
        let mut queue = self.lock();
        if queue.lost < MAX_LOST
            && !ticket.ended.load(Ordering::Acquire)
            && !ticket.lost.swap(true, Ordering::AcqRel)
        {
            tracing::warn!("computation does not end; replacing its thread");
            queue.lost += 1;
            queue.threads -= 1;
            self.start(&mut queue);
        }
    }

    fn work(&self) {
        #[cfg(target_os = "linux")]
        // Linux sets the priority per thread. If that fails, the thread runs with normal priority.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        let mut queue = self.lock();
        loop {
            let Some(job) = queue.next() else {
                queue.idle += 1;
                queue = self.added.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
                continue;
            };
            drop(queue);
            let continues = job();
            queue = self.lock();
            if !continues {
                queue.lost -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{FULL_BUDGET, make, step};
    use std::sync::mpsc;

    fn app(number: u128) -> AppId {
        AppId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn apps_take_turns() {
        let mut queue = Queue::default();
        let (sender, order) = mpsc::channel();
        for (number, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
            let sender = sender.clone();
            queue.add(app(number), Box::new(move || sender.send(name).is_ok()));
        }
        while let Some(job) = queue.next() {
            job();
        }
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["a1", "b1", "c1", "a2", "b2", "a3"]);
        assert!(queue.jobs.is_empty() && queue.turns.is_empty());
    }

    #[tokio::test]
    async fn a_job_ends_within_its_budget() {
        let pool = Pool::new(1);
        let endless = || {
            while step(1).is_ok() {}
            Ok(())
        };
        let error = pool.run(app(1), "the loop", FULL_BUDGET, endless).await.expect_err("a limit");
        assert_eq!(
            (error.code(), error.message.as_str()),
            ("limit_exceeded", "the loop took more than 4 million steps")
        );
        let large = || {
            while make(1 << 10).is_ok() {}
            Ok(())
        };
        let error = pool.run(app(1), "the text", FULL_BUDGET, large).await.expect_err("a limit");
        assert_eq!(error.message, "the text created more than 64 MiB of text and lists");
        // The thread survives these jobs, and one that panics.
        let broken = || -> Result<(), NodeError> { panic!("broken") };
        assert_eq!(
            pool.run(app(1), "it", FULL_BUDGET, broken).await.expect_err("an error").kind,
            "RuntimeError"
        );
        assert_eq!(pool.run(app(1), "it", FULL_BUDGET, || Ok(1)).await, Ok(1));
        assert_eq!(pool.shared.lock().threads, 1);
    }

    #[tokio::test]
    async fn a_job_stops_when_it_is_canceled() {
        let pool = Pool::new(1);
        let (sender, stopped) = mpsc::channel();
        let endless = move || {
            while step(1).is_ok() {}
            let _ = sender.send(());
            Ok(())
        };
        let endless_budget = Budget { steps: u64::MAX, ..FULL_BUDGET };
        let ran =
            tokio::time::timeout(Duration::from_millis(20), pool.run(app(1), "it", endless_budget, endless))
                .await;
        assert!(ran.is_err(), "it is still running");
        stopped.recv_timeout(Duration::from_secs(30)).expect("it stops");
        assert_eq!(pool.run(app(2), "it", FULL_BUDGET, || Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_thread_that_cannot_be_stopped_is_replaced() {
        let pool = Pool::new(1);
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let unstoppable = move || {
            let _ = begin.send(());
            Ok(ended.recv().is_ok())
        };
        let waited = tokio::time::timeout(
            Duration::from_millis(200),
            pool.run(app(1), "it", FULL_BUDGET, unstoppable),
        )
        .await;
        assert!(waited.is_err(), "it is still running");
        if begun.try_recv().is_err() {
            // The job did not begin in time, and was canceled.
            return;
        }
        assert_eq!(pool.run(app(2), "it", FULL_BUDGET, || Ok(1)).await, Ok(1));
        let thread_counts = || {
            let queue = pool.shared.lock();
            (queue.threads, queue.lost)
        };
        assert_eq!(thread_counts(), (1, 1));
        end.send(()).expect("it waits");
        while thread_counts().1 > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(pool.run(app(2), "it", FULL_BUDGET, || Ok(1)).await, Ok(1));
    }
}
