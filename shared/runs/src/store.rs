//! The port that keeps runs.

use crate::{AppId, Entry, Guard, NewRun, Record, RecordChange, ReportedStatus, RunId, Sequence, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// Why an operation on a store failed.
///
/// A condition that does not hold is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may or may not have been done: a timeout, a throttled request, a conflict. Read before doing it again.
    #[error("the outcome is unknown: {0}")]
    Unknown(#[source] BoxError),
    /// It was not done, and the same request would fail again.
    #[error("{0}")]
    Failed(#[source] BoxError),
}

/// Any error of a backend.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps runs: their requests, logs and records.
///
/// Every implementation promises:
///
/// - Acknowledged writes are on disk.
/// - Writes to one run are linearizable and atomic; reads see every write that was acknowledged before they began.
/// - A [`Guard`] is checked in the same atomic step as the write that it guards.
#[async_trait]
pub trait RunStore: Send + Sync + 'static {
    /// Creates a run, if none has its id.
    async fn create(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError>;

    /// Binds an idempotency key to a run, if it is not bound, or was bound before `item.valid_since`. Returns what it
    /// is bound to now.
    async fn bind(&self, item: &IdempotencyItem) -> Result<IdempotencyItem, StoreError>;

    /// Appends an entry, if its slot is free. Leaves the record unchanged.
    async fn append(&self, entry: &Entry) -> Result<Append, StoreError>;

    /// Appends an entry and changes the record in one transaction, if the slot is free and the guard holds.
    async fn commit(&self, entry: &Entry, change: &RecordChange, guard: &Guard)
    -> Result<Append, StoreError>;

    /// Changes the record, if the guard holds.
    async fn update(&self, run: RunId, change: &RecordChange, guard: &Guard) -> Result<Update, StoreError>;

    /// Reads the record and the entries of a range, in pieces: at least one entry, and none after `range.bytes`. The
    /// read is consistent.
    async fn read_range(&self, run: RunId, range: LogRange) -> Result<Option<LogRead>, StoreError>;

    /// [`RunStore::read_range`] to the end of the log, in pieces of 1 MiB.
    async fn read(&self, run: RunId, from: Sequence) -> Result<Option<LogRead>, StoreError> {
        self.read_range(run, LogRange::from(from)).await
    }

    /// Reads the record and the last entry. The read is consistent.
    async fn head(&self, run: RunId) -> Result<Option<Head>, StoreError>;

    /// Reads the request that created the run, the record and the last entry.
    async fn get(&self, run: RunId) -> Result<Option<StoredRun>, StoreError>;

    /// Returns a page of an app's runs. A run that cannot be read is logged and left out, but counted, since the index
    /// has it.
    async fn list(&self, query: &ListQuery) -> Result<RunPage, ListError>;

    /// Returns up to `limit` runs whose `due` is not after `now`, the longest due first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(AppId, RunId)>, StoreError>;

    /// Changes the `due` of a run that is due at `now` to `until`, without reading anything else of the run, which may
    /// be unreadable.
    async fn postpone(&self, run: RunId, now: Timestamp, until: Timestamp) -> Result<Update, StoreError>;

    /// Deletes up to `limit` ended runs that expired before `now`, readable or not, with all their data. Returns their
    /// number. Does nothing if the backend deletes expired runs by itself.
    async fn delete_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Returns when the run's log may have grown beyond `after`, or after `at_most`. A hint: it may return early.
    async fn changed(&self, run: RunId, after: Sequence, at_most: Duration);
}

/// The result of [`RunStore::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Create {
    /// The run was created.
    Done,
    /// A run with this id exists.
    Exists,
}

/// The result of [`RunStore::append`] and [`RunStore::commit`]. If both conditions fail, it may be either of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Append {
    /// The entry was appended.
    Done,
    /// The slot is taken.
    Taken,
    /// The guard does not hold, or there is no such run.
    Refused,
}

/// The result of [`RunStore::update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// The record was changed.
    Done,
    /// The guard does not hold, or there is no such run.
    Refused,
}

/// The entries of a log to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The first entry is the one that holds this sequence.
    pub from: Sequence,
    /// The last entry is the one that holds this sequence.
    pub to: Sequence,
    /// Reading stops after this many bytes.
    pub bytes: usize,
}

impl LogRange {
    /// Returns the range from this sequence to the end, in pieces of 1 MiB.
    pub fn from(from: Sequence) -> Self {
        Self { from, to: Sequence::MAX, bytes: 1 << 20 }
    }
}

/// The result of [`RunStore::read_range`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogRead {
    /// The app that the run belongs to.
    pub app: AppId,
    /// The record.
    pub record: Record,
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// Whether the range has further entries.
    pub more: bool,
}

/// The result of [`RunStore::head`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// The app that the run belongs to.
    pub app: AppId,
    /// When the run expires: from then on it fails if it has not ended.
    pub expires_at: Timestamp,
    /// The record.
    pub record: Record,
    /// The last entry; `None` if the log is empty.
    pub last: Option<Entry>,
}

/// The result of [`RunStore::get`].
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// The request that created the run.
    pub new: NewRun,
    /// The record.
    pub record: Record,
    /// The last entry; `None` if the log is empty.
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
    /// A binding from before this time is void.
    pub valid_since: Timestamp,
}

/// A query for runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ListQuery {
    /// The app whose runs are listed.
    pub app: AppId,
    /// Only runs in one of these statuses, as callers see them; any status if empty.
    pub statuses: Vec<ReportedStatus>,
    /// Only runs of this user.
    pub user_id: Option<String>,
    /// Only runs of this session.
    pub session_id: Option<Uuid>,
    /// Only runs with all of this metadata.
    pub metadata: Vec<(String, String)>,
    /// The sort order; never empty.
    pub sort: Vec<Sort>,
    /// Where the page starts.
    pub start: PageStart,
    /// Page size, 1 to 100.
    pub page_size: u32,
}

/// Where a page starts.
#[derive(Clone, Debug, PartialEq)]
pub enum PageStart {
    /// After this many runs; at most 10,000.
    Offset(u64),
    /// At this cursor: [`RunPage::next_cursor`] of the previous page of the same query.
    Cursor(String),
}

/// One term of a sort order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// What runs are sorted by.
    pub by: SortBy,
    /// Whether the largest comes first.
    pub descending: bool,
}

/// What runs can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// When they were created.
    StartedAt,
    /// When they ended; runs that have not ended come last in both directions.
    EndedAt,
    /// Their status as callers see it, in the order of [`ReportedStatus`].
    Status,
}

/// The largest number that [`RunPage::total_count`] counts to.
pub const COUNT_CAP: u64 = 10_000;

/// Maximum bytes of the inputs and outputs of all runs of a page; a page of one run may exceed it.
pub const PAGE_BYTES: usize = 16 << 20;

/// A page of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<StoredRun>,
    /// The number of runs on all pages, up to [`COUNT_CAP`].
    pub total_count: u64,
    /// Whether there are more runs than [`COUNT_CAP`].
    pub capped: bool,
    /// Cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

/// Why runs were not listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// No index supports this query; the text names the orders that are supported with these filters.
    #[error("{0}")]
    NotServed(String),
    /// The cursor is not one of this query's.
    #[error("not a cursor of this query")]
    BadCursor,
    /// The inputs and outputs of the page's runs exceed [`PAGE_BYTES`]; never for a page of one run.
    #[error("the runs of this page hold more than the {} MiB of input and output that a page may hold", PAGE_BYTES >> 20)]
    TooLarge,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
