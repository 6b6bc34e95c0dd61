//! The port that keeps runs.

use crate::{AppId, Entry, Guard, NewRun, Record, RecordChange, ReportedStatus, RunId, Sequence, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// Why a store did not do what it was asked.
///
/// A condition that failed is an answer, not an error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may or may not have been done: a time-out, a throttle, a conflict. Look before doing it again.
    #[error("the outcome is unknown: {0}")]
    Unknown(#[source] BoxError),
    /// It was not done, and will not be if it is asked again as it is.
    #[error("{0}")]
    Failed(#[source] BoxError),
}

/// Any error of a backend.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps runs: their logs, their records, and what was asked for.
///
/// Promises, of every implementation:
///
/// - What it acknowledged is on disk.
/// - Writes to one run are linearizable, and each is whole or not at all; reads see every write that was
///   acknowledged before they began.
/// - A [`Guard`] is judged in the same atomic step as the write that it guards.
#[async_trait]
pub trait RunStore: Send + Sync + 'static {
    /// Creates a run, if there is none with its id.
    async fn create(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError>;

    /// Binds an idempotency key to a run, if it is not bound, or was bound before `item.valid_since`.
    /// Gives what it is bound to now.
    async fn bind(&self, item: &IdempotencyItem) -> Result<IdempotencyItem, StoreError>;

    /// Appends an entry, if its place is free. Leaves the record as it is.
    async fn append(&self, entry: &Entry) -> Result<Append, StoreError>;

    /// Appends an entry, if its place is free and the guard holds, and changes the record, in one transaction.
    async fn commit(&self, entry: &Entry, change: &RecordChange, guard: &Guard)
    -> Result<Append, StoreError>;

    /// Changes the record, if the guard holds.
    async fn update(&self, run: RunId, change: &RecordChange, guard: &Guard) -> Result<Update, StoreError>;

    /// The record, and the entries of a range, in pieces: at least one entry, and no further one after `range.bytes`.
    /// Consistent.
    async fn read_range(&self, run: RunId, range: LogRange) -> Result<Option<LogRead>, StoreError>;

    /// [`RunStore::read_range`] to the end of the log, in pieces of 1 MiB.
    async fn read(&self, run: RunId, from: Sequence) -> Result<Option<LogRead>, StoreError> {
        self.read_range(run, LogRange::from(from)).await
    }

    /// The record and the last entry. Consistent.
    async fn head(&self, run: RunId) -> Result<Option<Head>, StoreError>;

    /// What was asked for, the record and the last entry.
    async fn get(&self, run: RunId) -> Result<Option<StoredRun>, StoreError>;

    /// A page of an app's runs. One that cannot be read is left out, and logged: it is counted, as the index has it.
    async fn list(&self, query: &ListQuery) -> Result<RunPage, ListError>;

    /// Up to `limit` runs whose `due` is not after `now`, the longest due first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(AppId, RunId)>, StoreError>;

    /// Makes a run that is due at `now` due at `until`, without reading anything else of it: it may not be readable.
    async fn postpone(&self, run: RunId, now: Timestamp, until: Timestamp) -> Result<Update, StoreError>;

    /// Removes up to `limit` ended runs, readable or not, that expired before `now`, with all that belongs to them; gives their number.
    /// A store whose backend does that by itself does nothing.
    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Returns when the run's log may have grown beyond `after`, or after `at_most`. A hint: it may come early.
    async fn changed(&self, run: RunId, after: Sequence, at_most: Duration);
}

/// The answer to [`RunStore::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Create {
    /// Done.
    Done,
    /// There is a run with this id.
    Exists,
}

/// The answer to [`RunStore::append`] and [`RunStore::commit`]. If both conditions fail, either may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Append {
    /// Done.
    Done,
    /// The place is taken.
    Taken,
    /// The guard does not hold, or there is no such run.
    Refused,
}

/// The answer to [`RunStore::update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// Done.
    Done,
    /// The guard does not hold, or there is no such run.
    Refused,
}

/// Which entries of a log to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// From the entry that holds this sequence.
    pub from: Sequence,
    /// To the entry that holds this one.
    pub to: Sequence,
    /// No further entry is read after this many bytes.
    pub bytes: usize,
}

impl LogRange {
    /// From this sequence to the end, in pieces of 1 MiB.
    pub fn from(from: Sequence) -> Self {
        Self { from, to: Sequence::MAX, bytes: 1 << 20 }
    }
}

/// The answer to [`RunStore::read`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogRead {
    /// The app.
    pub app: AppId,
    /// The record.
    pub record: Record,
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// Whether the range goes on after them.
    pub more: bool,
}

/// The answer to [`RunStore::head`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// The app.
    pub app: AppId,
    /// From then on the run fails if it has not ended.
    pub expires_at: Timestamp,
    /// The record.
    pub record: Record,
    /// The last entry.
    pub last: Option<Entry>,
}

/// A run as a store gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// What was asked for.
    pub new: NewRun,
    /// The record.
    pub record: Record,
    /// The last entry.
    pub last: Option<Entry>,
}

/// An idempotency key that is bound to a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdempotencyItem {
    /// SHA-256 over app, caller and key.
    pub key: [u8; 32],
    /// The run.
    pub run: RunId,
    /// SHA-256 over the parsed request.
    pub request: [u8; 32],
    /// When it was bound.
    pub bound_at: Timestamp,
    /// An older binding is void.
    pub valid_since: Timestamp,
}

/// Which runs to list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListQuery {
    /// Of this app.
    pub app: AppId,
    /// In one of these statuses, as callers see them; in any if empty.
    pub statuses: Vec<ReportedStatus>,
    /// Of this user.
    pub user_id: Option<String>,
    /// Of this session.
    pub session_id: Option<Uuid>,
    /// With all these labels.
    pub metadata: Vec<(String, String)>,
    /// In this order; never empty.
    pub sort: Vec<Sort>,
    /// From where on.
    pub start: PageStart,
    /// Page size, 1 to 100.
    pub page_size: u32,
}

/// Where a page starts.
#[derive(Clone, Debug, PartialEq)]
pub enum PageStart {
    /// After this many runs; at most 10,000.
    Offset(u64),
    /// After the run that this cursor names: [`RunPage::next_cursor`] of the page before, for the same query.
    Cursor(String),
}

/// One term of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// Largest first.
    pub descending: bool,
}

/// What runs can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// When they were created.
    StartedAt,
    /// When they ended; those that have not come last, either way.
    EndedAt,
    /// Their status, as callers see it, in the order of [`ReportedStatus`].
    Status,
}

/// The largest number that [`RunPage::total_count`] counts to.
pub const COUNT_CAP: u64 = 10_000;

/// How many bytes of input and output the runs of a page hold together; a page of one run may hold more.
pub const PAGE_BYTES: usize = 16 << 20;

/// A page of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<StoredRun>,
    /// How many there are on all pages; [`COUNT_CAP`] if more.
    pub total_count: u64,
    /// Whether there are more than [`COUNT_CAP`].
    pub capped: bool,
    /// Where the next page starts, if there is one.
    pub next_cursor: Option<String>,
}

/// Why a listing was refused.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// No index serves this; the text says which orders are served with these filters.
    #[error("{0}")]
    NotServed(String),
    /// The cursor is not one of this query's.
    #[error("not a cursor of this query")]
    BadCursor,
    /// The runs of the page hold more than [`PAGE_BYTES`], or were not read on when they did; a page of one run never does.
    #[error("the runs of this page hold more than the {} MiB of input and output that a page may hold", PAGE_BYTES >> 20)]
    TooLarge,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
