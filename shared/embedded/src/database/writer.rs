//! The writer thread: all waiting writes go into one transaction, so that one fsync serves many.

use super::Fault;
use crate::{
    Error,
    runs::Waiters,
    usage::{Counters, Tally},
};
use runyard_runs::StoreError;
use rusqlite::{Connection, hooks::Wal};
use std::{
    cell::Cell,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Maximum number of writes in a transaction.
const MAX_BATCH: usize = 256;

/// How often to check for writes of other processes while a task waits for them.
const POLL_INTERVAL: Duration = Duration::from_millis(150);

/// Minimum interval between reads of other processes' counters of stored bytes.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Stored bytes are counted in memory this long, and up to this many bytes, before the counters in the database change.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
const COUNT_BYTES: i64 = 1 << 20;

/// Pages of WAL, 8 MiB, after which they are copied into the database.
const COPY_PAGES: i32 = 1024;

/// Pages of WAL, 32 MiB, after which writes wait for the copy.
const COPY_NOW_PAGES: i32 = 4096;

/// The writer thread. On drop, executes what was sent before and closes the database.
pub(super) struct Writer {
    jobs: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
    copies: Option<JoinHandle<()>>,
}

enum Message {
    Job(Box<dyn Job>),
    Wake,
}

impl Writer {
    /// Starts the thread, and another one that copies the WAL into the database over the connection `copies`.
    pub(super) fn start(
        mut connection: Connection,
        copies: Connection,
        waiters: Arc<Waiters>,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        // One pending request is enough: further ones would only repeat the copy.
        let (copy, requests) = mpsc::sync_channel(1);
        let copies = thread::Builder::new().name("runyard-copy".to_owned()).spawn(move || {
            while let Ok(()) = requests.recv() {
                // It fails if another process is copying.
                let _ = self::copy(&copies, "PASSIVE");
            }
        });
        let copies = copies.map_err(Error::Thread)?;
        let (jobs, queue) = mpsc::channel();
        connection.wal_hook(Some(note_wal_pages))?;
        let thread = thread::Builder::new().name("runyard-write".to_owned()).spawn(move || {
            let now = Instant::now();
            let reloaded = (now, 0);
            Loop {
                connection,
                queue,
                waiters,
                counters,
                pending: Tally::default(),
                counted: None,
                reloaded,
                checked: now,
                data_version: 0,
                copied: 0,
                copy,
            }
            .run();
        });
        let thread = thread.map_err(Error::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), copies: Some(copies) })
    }

    /// Executes `work`, and calls `answer` with the outcome once it is on disk.
    pub(super) fn send<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection, &mut Tally) -> Result<T, Fault> + Send + 'static,
        answer: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Message::Job(Box::new(Task { work, answer, done: None })));
        }
    }

    pub(super) fn wake(&self) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Message::Wake);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in [self.thread.take(), self.copies.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

/// Work in a transaction.
trait Job: Send {
    /// Executes the work. May be called again: it then starts over.
    fn work(&mut self, connection: &Connection, tally: &mut Tally) -> Result<(), Fault>;

    /// Sends the outcome to the caller.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Task<T, W, A> {
    work: W,
    answer: A,
    done: Option<T>,
}

impl<T, W, A> Job for Task<T, W, A>
where
    T: Send,
    W: FnMut(&Connection, &mut Tally) -> Result<T, Fault> + Send,
    A: FnOnce(Result<T, StoreError>) + Send,
{
    fn work(&mut self, connection: &Connection, tally: &mut Tally) -> Result<(), Fault> {
        self.done = Some((self.work)(connection, tally)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { answer, done, .. } = *self;
        answer(outcome.and_then(|()| done.ok_or_else(super::closed)));
    }
}

struct Loop {
    connection: Connection,
    queue: Receiver<Message>,
    waiters: Arc<Waiters>,
    counters: Arc<Counters>,
    /// What is counted in `counters` and not in the database yet.
    pending: Tally,
    /// When the counters in the database were last changed.
    counted: Option<Instant>,
    /// When other processes' counters were last read, and the `data_version` at that time.
    reloaded: (Instant, i64),
    /// When writes of other processes were last checked for.
    checked: Instant,
    data_version: i64,
    /// Pages of WAL when a copy was last requested.
    copied: i32,
    copy: SyncSender<()>,
}

impl Loop {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while let Some(message) = self.next() {
            if let Message::Job(job) = message {
                batch.push(job);
            }
            while batch.len() < MAX_BATCH
                && let Ok(message) = self.queue.try_recv()
            {
                if let Message::Job(job) = message {
                    batch.push(job);
                }
            }
            if !batch.is_empty() {
                self.execute(&mut batch);
            }
            if !self.waiters.is_empty() && self.checked.elapsed() >= POLL_INTERVAL {
                self.check_others();
            }
        }
        if let Err((_, error)) = self.write_counters() {
            tracing::warn!(%error, "cannot store the count of stored bytes");
        }
        let _ = copy(&self.connection, "TRUNCATE");
    }

    /// Waits for the next message, and checks for writes of other processes. `None` when the database is to be closed.
    fn next(&mut self) -> Option<Message> {
        loop {
            if self.waiters.is_empty() {
                return self.queue.recv().ok();
            }
            match self.queue.recv_timeout(POLL_INTERVAL.saturating_sub(self.checked.elapsed())) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) => self.check_others(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Wakes the tasks whose logs have grown by writes of other processes. (Own writes do not change `data_version`.)
    fn check_others(&mut self) {
        self.checked = Instant::now();
        match self.version() {
            Ok(version) if version == self.data_version => {}
            Ok(version) => {
                self.data_version = version;
                self.waiters.wake_grown(&self.connection);
            }
            Err(_) => self.waiters.wake_all(),
        }
    }

    fn version(&self) -> Result<i64, rusqlite::Error> {
        let mut statement = self.connection.prepare_cached("PRAGMA data_version")?;
        statement.query_row((), |row| row.get(0))
    }

    fn execute(&mut self, batch: &mut Vec<Box<dyn Job>>) {
        match self.transaction(batch) {
            Ok(()) => batch.drain(..).for_each(|job| job.answer(Ok(()))),
            Err((Stage::Work, fault)) if batch.len() == 1 => {
                let error = StoreError::from(fault);
                batch.drain(..).zip([error]).for_each(|(job, error)| job.answer(Err(error)));
            }
            // One job failed the transaction of all: execute each in its own.
            Err((Stage::Work, _)) => {
                for job in std::mem::take(batch) {
                    self.execute(&mut vec![job]);
                }
            }
            Err((Stage::Begin | Stage::Commit, fault)) => {
                let message = fault.to_string();
                batch.drain(..).for_each(|job| job.answer(Err(StoreError::Unknown(message.clone().into()))));
            }
        }
        self.keep_wal_short();
    }

    fn transaction(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), (Stage, Fault)> {
        self.statement("BEGIN IMMEDIATE").map_err(|fault| (Stage::Begin, fault))?;
        let mut tally = Tally::default();
        for job in batch {
            job.work(&self.connection, &mut tally).map_err(|fault| self.roll_back(Stage::Work, fault))?;
        }
        if self.must_count(&tally) {
            tally.merge(&self.pending);
            self.commit_counters(&tally)?;
        } else {
            self.statement("COMMIT").map_err(|fault| self.roll_back(Stage::Commit, fault))?;
            self.counters.add(&tally);
            self.pending.merge(&tally);
        }
        self.reload_counters();
        Ok(())
    }

    /// Whether to change the counters in the database with a transaction that stores `tally`.
    fn must_count(&self, tally: &Tally) -> bool {
        !tally.is_empty()
            && (self.counted.is_none_or(|at| at.elapsed() >= COUNT_INTERVAL)
                || self.pending.bytes().saturating_add(tally.bytes()) >= COUNT_BYTES)
    }

    /// Adds `tally` to the counters in the database, and commits the transaction.
    fn commit_counters(&mut self, tally: &Tally) -> Result<(), (Stage, Fault)> {
        let changed = tally.write(&self.connection).map_err(|fault| self.roll_back(Stage::Work, fault))?;
        self.statement("COMMIT").map_err(|fault| self.roll_back(Stage::Commit, fault))?;
        self.counters.set(changed);
        self.pending = Tally::default();
        self.counted = Some(Instant::now());
        Ok(())
    }

    /// Writes what is counted in memory only.
    fn write_counters(&mut self) -> Result<(), (Stage, Fault)> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.statement("BEGIN IMMEDIATE").map_err(|fault| (Stage::Begin, fault))?;
        let pending = std::mem::take(&mut self.pending);
        self.commit_counters(&pending)
    }

    /// Reads the counters again if other processes wrote: they may count for apps that this process never writes for.
    fn reload_counters(&mut self) {
        let (at, version) = self.reloaded;
        if at.elapsed() < RELOAD_INTERVAL {
            return;
        }
        self.reloaded.0 = Instant::now();
        match self.version() {
            Ok(now) if now == version => {}
            Ok(now) => match self.counters.load(&self.connection, &self.pending) {
                Ok(()) => self.reloaded.1 = now,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the counters of other processes");
                }
            },
            Err(error) => tracing::warn!(%error, "cannot check whether other processes wrote"),
        }
    }

    fn roll_back(&self, stage: Stage, fault: Fault) -> (Stage, Fault) {
        // After some errors SQLite has rolled back already.
        if !self.connection.is_autocommit() {
            let _ = self.statement("ROLLBACK");
        }
        (stage, fault)
    }

    fn statement(&self, sql: &str) -> Result<(), Fault> {
        self.connection.prepare_cached(sql)?.execute(())?;
        Ok(())
    }

    /// Requests a copy of the WAL into the database, which runs in parallel with the writes and costs them little.
    /// Under a steady load that copy never catches up: once the WAL is long, copies it here. A WAL that was copied
    /// completely starts over.
    fn keep_wal_short(&mut self) {
        let pages = WAL_PAGES.get();
        if pages < self.copied {
            self.copied = 0;
        }
        if pages - self.copied < COPY_PAGES {
            return;
        }
        self.copied = pages;
        if pages < COPY_NOW_PAGES {
            let _ = self.copy.try_send(());
        } else if let Err(error) = copy(&self.connection, "PASSIVE") {
            tracing::warn!(%error, "cannot copy the WAL into the database");
        }
    }
}

/// Where a transaction failed.
enum Stage {
    Begin,
    Work,
    Commit,
}

thread_local! {
    /// Pages of WAL since it last started over, as of this thread's last commit.
    static WAL_PAGES: Cell<i32> = const { Cell::new(0) };
}

#[expect(clippy::unnecessary_wraps, reason = "SQLite's hook requires this signature")]
fn note_wal_pages(_: &mut Wal, pages: i32) -> Result<(), rusqlite::Error> {
    WAL_PAGES.set(pages);
    Ok(())
}

fn copy(connection: &Connection, mode: &str) -> Result<(), rusqlite::Error> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |_| Ok(()))
}
