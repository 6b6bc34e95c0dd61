//! Runs: their logs, records and parameters (input, version, metadata, files).

mod cursor;
mod expression;
mod facts;
mod item;
mod list;
mod read;
mod write;

use crate::{aws::Shared, bodies::Bodies};
use async_trait::async_trait;
use facts::KnownRuns;
use runyard_runs::{
    AppId, Append, Create, Entry, Guard, Head, IdempotencyItem, ListError, ListQuery, LogRange, LogRead,
    NewRun, Record, RecordChange, RunId, RunPage, RunStore, Sequence, StoreError, StoredRun, Timestamp,
    Update,
};
use std::{sync::Arc, time::Duration};

/// [`RunStore`] on DynamoDB.
///
/// | method | requests |
/// | --- | --- |
/// | `create`, `append`, `commit`, `update`, `bind` | 1 write; 1 object more for content over 32 KiB |
/// | `get`, `head` | 1 read |
/// | `read` | 1 read from the end or the start of a log, 2 or 3 from its middle; more for each MiB |
/// | `list` | 2 reads per page; 1 more for every 9,400 runs counted, every 100 items shown, and every shard |
/// | `due` | 1 read of each of 8 shards |
/// | `changed` | 1 read every 0.1 s, later every second |
///
/// Reads through an index (`list`, `due`) may lag slightly behind. An entry, an input or an output may be as large as an
/// object in S3.
pub struct Runs {
    home: Arc<Shared>,
    bodies: Bodies,
    known: KnownRuns,
}

impl Runs {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        let bodies = Bodies::new(home.clients.s3.clone(), home.config.bucket.clone());
        Self { home, bodies, known: KnownRuns::default() }
    }

    /// Opens a connection to the bucket.
    pub(crate) async fn warm(&self) {
        self.bodies.warm().await;
    }

    fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        &self.home.clients.dynamodb
    }

    fn table(&self) -> &str {
        &self.home.config.table
    }

    fn seconds_now(&self) -> i64 {
        self.home.clock.now().0.div_euclid(1000)
    }
}

#[async_trait]
impl RunStore for Runs {
    async fn create(&self, run: &NewRun, record: &Record) -> Result<Create, StoreError> {
        self.create_run(run, record).await
    }

    async fn bind(&self, item: &IdempotencyItem) -> Result<IdempotencyItem, StoreError> {
        self.bind_key(item).await
    }

    async fn append(&self, entry: &Entry) -> Result<Append, StoreError> {
        self.append_entry(entry).await
    }

    async fn commit(
        &self,
        entry: &Entry,
        change: &RecordChange,
        guard: &Guard,
    ) -> Result<Append, StoreError> {
        self.commit_entry(entry, change, guard).await
    }

    async fn update(&self, run: RunId, change: &RecordChange, guard: &Guard) -> Result<Update, StoreError> {
        self.update_record(run, change, guard).await
    }

    async fn read_range(&self, run: RunId, range: LogRange) -> Result<Option<LogRead>, StoreError> {
        self.read_log(run, range).await
    }

    async fn head(&self, run: RunId) -> Result<Option<Head>, StoreError> {
        self.read_head(run).await
    }

    async fn get(&self, run: RunId) -> Result<Option<StoredRun>, StoreError> {
        self.get_run(run).await
    }

    async fn list(&self, query: &ListQuery) -> Result<RunPage, ListError> {
        self.list_page(query).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(AppId, RunId)>, StoreError> {
        self.due_runs(now, limit).await
    }

    async fn postpone(&self, run: RunId, now: Timestamp, until: Timestamp) -> Result<Update, StoreError> {
        self.postpone_run(run, now, until).await
    }

    /// Does nothing: DynamoDB deletes expired items, and lifecycle rules delete expired objects.
    async fn delete_expired(&self, _now: Timestamp, _limit: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn changed(&self, run: RunId, after: Sequence, at_most: Duration) {
        self.wait_for_change(run, after, at_most).await;
    }
}
