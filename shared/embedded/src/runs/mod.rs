//! Runs: their logs, records and requests.

mod cursor;
mod expire;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod list;
mod orphans;
mod range;
mod read;
mod row;
mod waiters;
mod write;

pub(crate) use orphans::{make_due, owning_workers};
pub(crate) use waiters::Waiters;

use crate::{database::Fault, embedded::Shared};
use async_trait::async_trait;
use runyard_runs::{
    AppId, Append, Create, Entry, Guard, Head, IdempotencyItem, ListError, ListQuery, LogRange, LogRead,
    NewRun, Record, RecordChange, RunId, RunPage, RunStore, Sequence, StoreError, StoredRun, Timestamp,
    Update,
};
use std::{sync::Arc, time::Duration};

/// [`RunStore`] on SQLite.
pub struct Runs {
    home: Arc<Shared>,
}

impl Runs {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home }
    }

    /// Wakes the waiters of `run` once an append is on disk.
    fn wake_waiters(&self, run: RunId) -> impl FnOnce(&Append) + Send + 'static {
        let waiters = Arc::clone(&self.home.waiters);
        move |append| {
            if *append == Append::Done {
                waiters.wake(run);
            }
        }
    }
}

#[async_trait]
impl RunStore for Runs {
    async fn create(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError> {
        let row = write::NewRow::of(run, record, self.home.worker.id)?;
        let work = move |connection: &_, tally: &mut _| row.insert(connection, tally);
        self.home.database.write_then(work, |_| ()).await
    }

    async fn bind(&self, item: &IdempotencyItem) -> Result<IdempotencyItem, StoreError> {
        let item = item.clone();
        self.home.database.write(move |connection| write::bind(connection, &item)).await
    }

    async fn append(&self, entry: &Entry) -> Result<Append, StoreError> {
        let row = write::EntryRow::of(entry)?;
        let wake = self.wake_waiters(entry.run);
        let work = move |connection: &_, tally: &mut _| row.append(connection, tally);
        self.home.database.write_then(work, wake).await
    }

    async fn commit(
        &self,
        entry: &Entry,
        change: &RecordChange,
        guard: &Guard,
    ) -> Result<Append, StoreError> {
        let row = write::EntryRow::of(entry)?;
        let (change, guard, worker) = (change.clone(), *guard, self.home.worker.id);
        let wake = self.wake_waiters(entry.run);
        let work =
            move |connection: &_, tally: &mut _| row.commit(connection, tally, &change, &guard, worker);
        self.home.database.write_then(work, wake).await
    }

    async fn update(&self, run: RunId, change: &RecordChange, guard: &Guard) -> Result<Update, StoreError> {
        let (change, guard, worker) = (change.clone(), *guard, self.home.worker.id);
        let work = move |connection: &_| write::update(connection, run, &change, &guard, worker);
        self.home.database.write(work).await
    }

    async fn read_range(&self, run: RunId, range: LogRange) -> Result<Option<LogRead>, StoreError> {
        self.home.database.read(move |connection| read::log(connection, run, range)).await
    }

    async fn head(&self, run: RunId) -> Result<Option<Head>, StoreError> {
        self.home.database.read(move |connection| read::head(connection, run)).await
    }

    async fn get(&self, run: RunId) -> Result<Option<StoredRun>, StoreError> {
        self.home.database.read(move |connection| read::get(connection, run)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<RunPage, ListError> {
        let plan = list::Plan::of(query)?;
        self.home.database.read(move |connection| plan.page(connection)).await?.ok_or(ListError::TooLarge)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(AppId, RunId)>, StoreError> {
        self.home.database.read(move |connection| read::due(connection, now, limit)).await
    }

    async fn postpone(&self, run: RunId, now: Timestamp, until: Timestamp) -> Result<Update, StoreError> {
        self.home.database.write(move |connection| write::postpone(connection, run, now, until)).await
    }

    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        expire::delete_expired(&self.home, now, limit).await
    }

    async fn changed(&self, run: RunId, after: Sequence, at_most: Duration) {
        let waiter = self.home.waiters.register(run, after);
        let notified = waiter.notified();
        tokio::pin!(notified);
        // Subscribe before the log is read, so that no append is missed.
        notified.as_mut().enable();
        if waiter.is_first() {
            self.home.database.watch();
        }
        let last = self.home.database.read(move |connection| read::last_sequence(connection, run)).await;
        if last.is_ok_and(|last| last <= after) {
            let _ = tokio::time::timeout(at_most, notified).await;
        }
    }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Prepares a statement, compiled once per connection.
fn statement<'c>(
    connection: &'c rusqlite::Connection,
    sql: &str,
) -> Result<rusqlite::CachedStatement<'c>, Fault> {
    Ok(connection.prepare_cached(sql)?)
}
