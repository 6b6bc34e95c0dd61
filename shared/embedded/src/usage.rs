//! How much apps have stored: one counter per app and day of expiry, in the database, and in memory as of the last
//! commit.
//!
//! The writer thread adds up what its transactions store. It updates the counters in memory with each of them, and those
//! in the database at most once a second or per MiB: a page less to write per transaction. A process that is killed loses
//! what it has counted since. Nothing is subtracted when runs expire: a counter is removed once its day is over.

use crate::{database::Fault, embedded::Shared};
use async_trait::async_trait;
use runyard_runs::{AppId, RECORD_BYTES, StorageUsage, StoreError, Timestamp};
use rusqlite::{Connection, params};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// [`StorageUsage`] on SQLite, read from memory.
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
        Ok(self.home.counters.sum(app, now.day()))
    }
}

/// The bytes that transactions store, by app and day of expiry.
#[derive(Default)]
pub(crate) struct Tally(HashMap<(AppId, i64), i64>);

impl Tally {
    /// Counts bytes of an app that are kept until `expires_at`.
    pub(crate) fn add(&mut self, app: AppId, expires_at: Timestamp, bytes: usize) {
        self.change(app, expires_at, i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts a new item: its content and [`RECORD_BYTES`] for its record.
    pub(crate) fn add_record(&mut self, app: AppId, expires_at: Timestamp, bytes: u64) {
        self.change(app, expires_at, record(bytes));
    }

    /// Subtracts what [`Tally::add_record`] counted.
    pub(crate) fn remove_record(&mut self, app: AppId, expires_at: Timestamp, bytes: u64) {
        self.change(app, expires_at, -record(bytes));
    }

    fn change(&mut self, app: AppId, expires_at: Timestamp, bytes: i64) {
        let counted = self.0.entry((app, expires_at.day())).or_default();
        *counted = counted.saturating_add(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes in total, of all apps and days.
    pub(crate) fn bytes(&self) -> i64 {
        self.0.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Adds what `other` has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (key, bytes) in &other.0 {
            let counted = self.0.entry(*key).or_default();
            *counted = counted.saturating_add(*bytes);
        }
    }

    /// Adds it to the counters in the database. Returns those that changed, with their new values.
    pub(crate) fn write(&self, connection: &Connection) -> Result<Vec<Counter>, Fault> {
        let mut changed = Vec::with_capacity(self.0.len());
        for (&(app, day), bytes) in &self.0 {
            let bytes = connection
                .prepare_cached(
                    "INSERT INTO stored_bytes (app, day, bytes) VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes RETURNING bytes",
                )?
                .query_row(params![app.0, day, bytes], |row| row.get(0))?;
            changed.push(Counter { app, day, bytes });
        }
        Ok(changed)
    }
}

fn record(bytes: u64) -> i64 {
    i64::try_from(bytes.saturating_add(RECORD_BYTES)).unwrap_or(i64::MAX)
}

/// The bytes of an app that expire on one day.
#[derive(Clone, Copy)]
pub(crate) struct Counter {
    app: AppId,
    day: i64,
    bytes: i64,
}

/// All counters, as of the last commit of this process, and of what it has seen of others.
#[derive(Default)]
pub(crate) struct Counters(Mutex<HashMap<AppId, BTreeMap<i64, i64>>>);

impl Counters {
    /// Reads all counters, at the start and after writes of other processes, and adds what is `pending` here.
    pub(crate) fn load(&self, connection: &Connection, pending: &Tally) -> Result<(), Fault> {
        let mut loaded: HashMap<AppId, BTreeMap<i64, i64>> = HashMap::new();
        let mut statement = connection.prepare_cached("SELECT app, day, bytes FROM stored_bytes")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            loaded.entry(AppId(row.get(0)?)).or_default().insert(row.get(1)?, row.get(2)?);
        }
        *self.lock() = loaded;
        self.add(pending);
        Ok(())
    }

    /// Adds what a transaction has stored.
    pub(crate) fn add(&self, tally: &Tally) {
        let mut counters = self.lock();
        for ((app, day), bytes) in &tally.0 {
            let counted = counters.entry(*app).or_default().entry(*day).or_default();
            *counted = counted.saturating_add(*bytes);
        }
    }

    /// Sets the counters that a transaction has changed in the database.
    pub(crate) fn set(&self, changed: Vec<Counter>) {
        let mut counters = self.lock();
        for Counter { app, day, bytes } in changed {
            counters.entry(app).or_default().insert(day, bytes);
        }
    }

    fn sum(&self, app: AppId, today: i64) -> u64 {
        let counters = self.lock();
        let days = counters.get(&app).map(|days| days.range(today..));
        let bytes = days.into_iter().flatten().map(|(_, bytes)| u64::try_from(*bytes).unwrap_or(0));
        bytes.fold(0, u64::saturating_add)
    }

    /// Whether there are counters of days before `today`.
    pub(crate) fn has_past(&self, today: i64) -> bool {
        self.lock().values().any(|days| days.first_key_value().is_some_and(|(day, _)| *day < today))
    }

    /// Drops the counters of days before `today`, which were removed from the database.
    pub(crate) fn forget_past(&self, today: i64) {
        self.lock().retain(|_, days| {
            *days = days.split_off(&today);
            !days.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, BTreeMap<i64, i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the counters of days before `today` from the database.
pub(crate) fn remove_past(connection: &Connection, today: i64) -> Result<(), Fault> {
    connection.prepare_cached("DELETE FROM stored_bytes WHERE day < ?1")?.execute([today])?;
    Ok(())
}
