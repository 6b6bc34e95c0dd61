//! How many bytes apps have stored.
//!
//! ```text
//! STORED#<app>, DAY#<days since 1970, 6 digits>     bytes that expire on that day, in UTC; deleted by TTL after it
//! ```
//!
//! Writing a counter for each stored object would double the cost of storing it. So a process sums up in memory what it
//! has stored. It adds the sum to the table when it reaches 1 MiB, when something is stored while it is 30 s old or
//! older, and at shutdown. A process that crashes loses its sum, so quotas are approximate here.

use crate::{
    aws::Shared,
    cache::REMEMBERED,
    clients::Clients,
    error::store_error,
    item::{Item, Reader, number, text},
    table::{PK, SK, TTL},
};
use async_trait::async_trait;
use futures::future::join_all;
use runyard_runs::{AppId, Clock, RECORD_BYTES, StorageUsage, StoreError, Timestamp};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Gathered bytes that are added to the table immediately.
const FLUSH_BYTES: u64 = 1 << 20;

/// How long fewer bytes are gathered, and how long nothing is added after a failure.
const FLUSH_INTERVAL: Duration = Duration::from_secs(30);

/// Apps whose sums are cached.
const CACHED_APPS: usize = 1024;

/// [`StorageUsage`] on DynamoDB: one read per app every 15 s, concurrent with the read of the app.
pub struct Usage {
    home: Arc<Shared>,
}

impl Usage {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home }
    }
}

#[async_trait]
impl StorageUsage for Usage {
    async fn stored_bytes(&self, app: AppId, now: Timestamp) -> Result<u64, StoreError> {
        let counts = &self.home.counts;
        if let Some(known) = counts.known(app, now) {
            return Ok(known);
        }
        counts.look(app, now).await
    }

    async fn store_counts(&self) {
        let taken = self.home.counts.take();
        self.home.counts.add_to_table(taken).await;
    }
}

/// The bytes that this process has stored and not yet added to the table, and the sums that it has read.
pub(crate) struct Counts {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Bytes by app and day of expiry.
type Gathered = HashMap<(AppId, i64), i64>;

#[derive(Default)]
struct State {
    gathered: Gathered,
    /// The sum of their absolute values.
    bytes: u64,
    /// When they are added, even if they are fewer than [`FLUSH_BYTES`].
    add_at: Option<Timestamp>,
    /// After a failure, nothing is added before this time.
    not_before: Option<Timestamp>,
    known: HashMap<AppId, Known>,
}

/// The stored bytes of an app, as last read.
struct Known {
    read_at: Timestamp,
    stored: i64,
    /// Bytes that this process has stored and `stored` does not include.
    since: i64,
}

impl Counts {
    pub(crate) fn new(clients: &Clients, table: &str, clock: Arc<dyn Clock>) -> Self {
        let (dynamodb, table) = (clients.dynamodb.clone(), table.to_owned());
        Self { dynamodb, table, clock, state: Mutex::default() }
    }

    /// Counts a new stored object: its content, in bytes, and [`RECORD_BYTES`] for its record.
    pub(crate) async fn count_record(&self, app: AppId, expires_at: Timestamp, bytes: u64) {
        self.gather(app, expires_at, signed(bytes.saturating_add(RECORD_BYTES))).await;
    }

    /// Reverts [`Counts::count_record`].
    pub(crate) async fn uncount_record(&self, app: AppId, expires_at: Timestamp, bytes: u64) {
        self.gather(app, expires_at, -signed(bytes.saturating_add(RECORD_BYTES))).await;
    }

    /// Counts bytes that were added to a stored object.
    pub(crate) async fn count_bytes(&self, app: AppId, expires_at: Timestamp, bytes: usize) {
        self.gather(app, expires_at, signed(bytes as u64)).await;
    }

    async fn gather(&self, app: AppId, expires_at: Timestamp, bytes: i64) {
        let now = self.clock.now();
        let due = {
            let mut state = self.lock();
            if let Some(known) = state.known.get_mut(&app) {
                known.since = known.since.saturating_add(bytes);
            }
            *state.gathered.entry((app, expires_at.day())).or_default() += bytes;
            state.bytes = state.bytes.saturating_add(bytes.unsigned_abs());
            let add_at = *state.add_at.get_or_insert(now + FLUSH_INTERVAL);
            let is_due = state.bytes >= FLUSH_BYTES || add_at <= now;
            let is_allowed = state.not_before.is_none_or(|not_before| not_before <= now);
            (is_due && is_allowed).then(|| state.take())
        };
        if let Some(gathered) = due {
            self.add_to_table(gathered).await;
        }
    }

    /// Returns the bytes of an app if they were read in the last 15 s.
    fn known(&self, app: AppId, now: Timestamp) -> Option<u64> {
        let state = self.lock();
        let known = state.known.get(&app)?;
        // A sum that was read on another day covers other days.
        let is_fresh =
            known.read_at <= now && now.since(known.read_at) < REMEMBERED && known.read_at.day() == now.day();
        is_fresh.then(|| known.sum())
    }

    /// Reads how much an app has stored, and caches it.
    pub(crate) async fn look(&self, app: AppId, now: Timestamp) -> Result<u64, StoreError> {
        let mut known = Known { read_at: now, stored: 0, since: self.lock().unstored(app, now) };
        let found = self
            .dynamodb
            .query()
            .table_name(&self.table)
            .key_condition_expression("PK = :app AND SK >= :today")
            .expression_attribute_values(":app", text(partition(app)))
            .expression_attribute_values(":today", text(sort(now.day())))
            .send()
            .await
            .map_err(store_error)?;
        for item in found.items() {
            known.stored = known.stored.saturating_add(Reader(item).number("bytes")?);
        }
        let sum = known.sum();
        let mut state = self.lock();
        if state.known.len() >= CACHED_APPS {
            state.known.clear();
        }
        state.known.insert(app, known);
        Ok(sum)
    }

    /// The same ahead of need: if it fails, the read that needs the sum reports the error.
    pub(crate) async fn look_ahead(&self, app: AppId) {
        if let Err(error) = self.look(app, self.clock.now()).await {
            tracing::debug!(%app, %error, "stored bytes of an app not read");
        }
    }

    /// Adds the gathered bytes to the table; gathers them again where that fails.
    async fn add_to_table(&self, gathered: Gathered) {
        let adding = gathered.into_iter().map(|((app, day), bytes)| async move {
            let added = self
                .dynamodb
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(app, day)))
                .update_expression("ADD #bytes :bytes SET #ttl = :end")
                .expression_attribute_names("#bytes", "bytes")
                .expression_attribute_names("#ttl", TTL)
                .expression_attribute_values(":bytes", number(bytes))
                .expression_attribute_values(":end", number((day + 1).saturating_mul(86_400)))
                .send()
                .await;
            if let Err(error) = added {
                let error = store_error(error);
                tracing::warn!(%app, %error, "stored bytes not counted yet: next attempt in 30 s");
                self.put_back(app, day, bytes);
            }
        });
        join_all(adding).await;
    }

    fn put_back(&self, app: AppId, day: i64, bytes: i64) {
        let retry_at = self.clock.now() + FLUSH_INTERVAL;
        let mut state = self.lock();
        *state.gathered.entry((app, day)).or_default() += bytes;
        state.bytes = state.bytes.saturating_add(bytes.unsigned_abs());
        state.add_at.get_or_insert(retry_at);
        state.not_before = Some(retry_at);
    }

    fn take(&self) -> Gathered {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Gathered {
        (self.bytes, self.add_at) = (0, None);
        std::mem::take(&mut self.gathered)
    }

    /// The bytes of an app that are gathered and not yet added to the table.
    fn unstored(&self, app: AppId, now: Timestamp) -> i64 {
        let today = now.day();
        let of_app = self.gathered.iter().filter(|((found, day), _)| *found == app && *day >= today);
        of_app.map(|(_, bytes)| bytes).sum()
    }
}

impl Known {
    fn sum(&self) -> u64 {
        u64::try_from(self.stored.saturating_add(self.since)).unwrap_or(0)
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn key(app: AppId, day: i64) -> Item {
    [(PK.to_owned(), text(partition(app))), (SK.to_owned(), text(sort(day)))].into()
}

fn partition(app: AppId) -> String {
    format!("STORED#{app}")
}

/// Keys sort by day: six digits suffice until the year 4707, longer than anything is kept.
fn sort(day: i64) -> String {
    format!("DAY#{:06}", day.clamp(0, 999_999))
}
