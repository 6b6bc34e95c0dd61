//! The thread that writes: what waits goes into one transaction, so that one fsync serves many.

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

/// The most writes that share a transaction.
const BATCH: usize = 256;

/// How often other processes' writes are looked for while somebody waits for them.
const POLL: Duration = Duration::from_millis(150);

/// How often other processes' counts are read at most. Those that this process adds to are exact whenever it does.
const COUNT: Duration = Duration::from_secs(1);

/// Pages of WAL after which they are copied into the database: 8 MiB.
const COPY_AT: i32 = 1024;

/// Pages of WAL after which writes wait for the copy: 32 MiB.
const COPY_NOW_AT: i32 = 4096;

/// The writing thread. Dropped, it does what was sent before and closes the database.
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
    /// Starts it. Another thread, on `copies`, copies the WAL into the database.
    pub(super) fn start(
        mut connection: Connection,
        copies: Connection,
        waiters: Arc<Waiters>,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        // One request is enough: a copy under way is not asked for again.
        let (copy, requests) = mpsc::sync_channel(1);
        let copies = thread::Builder::new().name("runyard-copy".to_owned()).spawn(move || {
            while let Ok(()) = requests.recv() {
                // Another process may be at it.
                let _ = self::copy(&copies, "PASSIVE");
            }
        });
        let copies = copies.map_err(Error::Thread)?;
        let (jobs, queue) = mpsc::channel();
        connection.wal_hook(Some(note_wal_pages))?;
        let thread = thread::Builder::new().name("runyard-write".to_owned()).spawn(move || {
            let now = Instant::now();
            let counted = (now, 0);
            Loop {
                connection,
                queue,
                waiters,
                counters,
                counted,
                looked: now,
                data_version: 0,
                copied: 0,
                copy,
            }
            .run();
        });
        let thread = thread.map_err(Error::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), copies: Some(copies) })
    }

    /// Does `work`, and gives `answer` what came of it once that is on disk.
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

/// Work to be done in a transaction.
trait Job: Send {
    /// Does it; done again, it starts over.
    fn work(&mut self, connection: &Connection, tally: &mut Tally) -> Result<(), Fault>;

    /// Tells who waits what came of it.
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
        answer(outcome.and_then(|()| done.ok_or_else(super::gone)));
    }
}

struct Loop {
    connection: Connection,
    queue: Receiver<Message>,
    waiters: Arc<Waiters>,
    counters: Arc<Counters>,
    /// When other processes' counts were last read, and the `data_version` then.
    counted: (Instant, i64),
    looked: Instant,
    data_version: i64,
    /// Pages of WAL when a copy was last asked for.
    copied: i32,
    copy: SyncSender<()>,
}

impl Loop {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(message) = self.next() {
            if let Message::Job(job) = message {
                batch.push(job);
            }
            while batch.len() < BATCH
                && let Ok(message) = self.queue.try_recv()
            {
                if let Message::Job(job) = message {
                    batch.push(job);
                }
            }
            if !batch.is_empty() {
                self.execute(&mut batch);
            }
            if !self.waiters.is_empty() && self.looked.elapsed() >= POLL {
                self.look();
            }
        }
        let _ = copy(&self.connection, "TRUNCATE");
    }

    /// The next message; in between, looks for other processes' writes. `None` when the database is to be closed.
    fn next(&mut self) -> Option<Message> {
        loop {
            if self.waiters.is_empty() {
                return self.queue.recv().ok();
            }
            match self.queue.recv_timeout(POLL.saturating_sub(self.looked.elapsed())) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Wakes those whose logs have grown by other processes' writes. (`data_version` does not move by one's own.)
    fn look(&mut self) {
        self.looked = Instant::now();
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
            // One of them has spoilt it for all: each on its own.
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
        let changed = tally.write(&self.connection).map_err(|fault| self.roll_back(Stage::Work, fault))?;
        self.statement("COMMIT").map_err(|fault| self.roll_back(Stage::Commit, fault))?;
        self.counters.set(changed);
        self.count_others();
        Ok(())
    }

    /// Reads the counters again if other processes wrote. (They may have counted what this one never writes to.)
    fn count_others(&mut self) {
        let (at, version) = self.counted;
        if at.elapsed() < COUNT {
            return;
        }
        self.counted.0 = Instant::now();
        match self.version() {
            Ok(now) if now == version => {}
            Ok(now) => match self.counters.load(&self.connection) {
                Ok(()) => self.counted.1 = now,
                Err(error) => {
                    tracing::warn!(%error, "other processes' counts of what is stored were not read");
                }
            },
            Err(error) => tracing::warn!(%error, "it is not known whether other processes wrote"),
        }
    }

    fn roll_back(&self, stage: Stage, fault: Fault) -> (Stage, Fault) {
        // After some errors SQLite has done it by itself.
        if !self.connection.is_autocommit() {
            let _ = self.statement("ROLLBACK");
        }
        (stage, fault)
    }

    fn statement(&self, sql: &str) -> Result<(), Fault> {
        self.connection.prepare_cached(sql)?.execute(())?;
        Ok(())
    }

    /// Has the WAL copied into the database beside the writes, which costs them little. What never catches up with a
    /// steady stream of writes is finished here once the WAL is long: a WAL that is copied whole starts over.
    fn keep_wal_short(&mut self) {
        let pages = WAL_PAGES.get();
        if pages < self.copied {
            self.copied = 0;
        }
        if pages - self.copied < COPY_AT {
            return;
        }
        self.copied = pages;
        if pages < COPY_NOW_AT {
            let _ = self.copy.try_send(());
        } else if let Err(error) = copy(&self.connection, "PASSIVE") {
            tracing::warn!(%error, "the WAL was not copied into the database");
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

#[expect(clippy::unnecessary_wraps, reason = "SQLite's hook asks for this form")]
fn note_wal_pages(_: &mut Wal, pages: i32) -> Result<(), rusqlite::Error> {
    WAL_PAGES.set(pages);
    Ok(())
}

fn copy(connection: &Connection, mode: &str) -> Result<(), rusqlite::Error> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |_| Ok(()))
}
