//! How much apps have stored.
//!
//! ```text
//! STORED#<app>, DAY#<days since 1970, 6 digits>     bytes that expire on that day, in UTC; goes by TTL after it
//! ```
//!
//! A write for each thing that is stored would double what it costs. So a process gathers in memory what it has stored, and
//! adds it when that is 1 MiB, or 30 s after the first of it, whenever something is stored next; and at its end. What a
//! process loses that dies was never counted: a quota is approximate here.

use crate::{
    aws::Home,
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

/// Gathered bytes that are added at once.
const ADD_AT: u64 = 1 << 20;

/// How long fewer are gathered, and how long after a failure nothing is added.
const ADD_AFTER: Duration = Duration::from_secs(30);

/// The sums of so many apps are remembered.
const APPS: usize = 1024;

/// [`StorageUsage`] on DynamoDB: a read of an app each 15 s, done beside the read of the app.
pub struct Usage {
    home: Arc<Home>,
}

impl Usage {
    pub(crate) fn new(home: Arc<Home>) -> Self {
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

/// What this process has stored and read of what apps have stored.
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
    /// How many bytes those are.
    bytes: u64,
    /// When they are added, also if they are fewer than [`ADD_AT`].
    add_at: Option<Timestamp>,
    /// Before that nothing is added, since it has failed.
    not_before: Option<Timestamp>,
    known: HashMap<AppId, Known>,
}

/// What was read of an app.
struct Known {
    asked: Timestamp,
    stored: i64,
    /// What this process has stored that is not in it.
    since: i64,
}

impl Counts {
    pub(crate) fn new(clients: &Clients, table: &str, clock: Arc<dyn Clock>) -> Self {
        let (dynamodb, table) = (clients.dynamodb.clone(), table.to_owned());
        Self { dynamodb, table, clock, state: Mutex::default() }
    }

    /// Counts something new that was stored: its content, in bytes, and what is kept about it.
    pub(crate) async fn count_record(&self, app: AppId, expires_at: Timestamp, bytes: u64) {
        self.gather(app, expires_at, signed(bytes.saturating_add(RECORD_BYTES))).await;
    }

    /// Takes back what [`Counts::count_record`] counted.
    pub(crate) async fn uncount_record(&self, app: AppId, expires_at: Timestamp, bytes: u64) {
        self.gather(app, expires_at, -signed(bytes.saturating_add(RECORD_BYTES))).await;
    }

    /// Counts bytes that were added to something.
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
            let add_at = *state.add_at.get_or_insert(now + ADD_AFTER);
            let is_due = state.bytes >= ADD_AT || add_at <= now;
            let may = state.not_before.is_none_or(|not_before| not_before <= now);
            (is_due && may).then(|| state.take())
        };
        if let Some(gathered) = due {
            self.add_to_table(gathered).await;
        }
    }

    /// What is known of an app since 15 s at most.
    fn known(&self, app: AppId, now: Timestamp) -> Option<u64> {
        let state = self.lock();
        let known = state.known.get(&app)?;
        // What was read on another day is a sum of other days.
        let is_fresh =
            known.asked <= now && now.since(known.asked) < REMEMBERED && known.asked.day() == now.day();
        is_fresh.then(|| known.sum())
    }

    /// Reads how much an app has stored, so that it is known.
    pub(crate) async fn look(&self, app: AppId, now: Timestamp) -> Result<u64, StoreError> {
        let mut known = Known { asked: now, stored: 0, since: self.lock().unstored(app, now) };
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
        if state.known.len() >= APPS {
            state.known.clear();
        }
        state.known.insert(app, known);
        Ok(sum)
    }

    /// The same beside another read: that it fails is told to who needs it.
    pub(crate) async fn look_ahead(&self, app: AppId) {
        if let Err(error) = self.look(app, self.clock.now()).await {
            tracing::debug!(%app, %error, "how much the app has stored was not read");
        }
    }

    /// Adds what was gathered to the counters; gathers it again where that fails.
    async fn add_to_table(&self, gathered: Gathered) {
        let adding = gathered.into_iter().map(|((app, day), bytes)| async move {
            let added = self
                .dynamodb
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(app, day)))
                .update_expression("ADD #bytes :bytes SET #ttl = :over")
                .expression_attribute_names("#bytes", "bytes")
                .expression_attribute_names("#ttl", TTL)
                .expression_attribute_values(":bytes", number(bytes))
                .expression_attribute_values(":over", number((day + 1).saturating_mul(86_400)))
                .send()
                .await;
            if let Err(error) = added {
                let error = store_error(error);
                tracing::warn!(%app, %error, "what was stored is not counted yet: it is tried again in 30 s");
                self.put_back(app, day, bytes);
            }
        });
        join_all(adding).await;
    }

    fn put_back(&self, app: AppId, day: i64, bytes: i64) {
        let again_at = self.clock.now() + ADD_AFTER;
        let mut state = self.lock();
        *state.gathered.entry((app, day)).or_default() += bytes;
        state.bytes = state.bytes.saturating_add(bytes.unsigned_abs());
        state.add_at.get_or_insert(again_at);
        state.not_before = Some(again_at);
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

    /// What this process has gathered of an app.
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

/// Sorts as days come: six digits are enough until the year 4707, and nothing is kept for long.
fn sort(day: i64) -> String {
    format!("DAY#{:06}", day.clamp(0, 999_999))
}
