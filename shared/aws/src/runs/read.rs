//! Reads of one run, and of due runs.
//!
//! They are consistent, except two that are hints: `due` reads an index, and `changed` reads any replica.
//!
//! A query is not a snapshot: it may return a record that a transaction has just changed, and miss the entry of the
//! same transaction. A caller must not act on a record that is ahead of its log, so such a record is never returned: the
//! log is read again. The port allows a record that is behind its log.

use super::{
    Runs,
    expression::Terms,
    facts::Facts,
    item::{self, Body, Item, Stored, number, text},
};
use crate::{
    error::store_error,
    table::{self, BY_DUE, DUE_SHARDS, PK, SK},
};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use futures::future::{try_join, try_join_all};
use runyard_runs::{
    AppId, Entry, Head, LogRange, LogRead, NewRun, RunId, Sequence, StoreError, StoredRun, Timestamp,
};
use std::time::Duration;
use tokio::time::Instant;

/// Number of entries at the end that are read first: a follower rarely lags further behind.
const TAIL_ROWS: i32 = 3;

/// Attempts of a read that finds a record ahead of its log; each attempt fails only because of one more write.
const READ_ATTEMPTS: usize = 8;

/// Interval between the first two polls for changes; each further one is 1.5 times as long.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum interval between two polls for changes.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A row of a log.
struct Row {
    first: Sequence,
    last: Sequence,
    body: Body,
}

impl Row {
    fn read(mut item: Item) -> Option<Self> {
        let first = table::first_of(item::text_of(&item, SK)?)?;
        Some(Self { first, last: item::number_of(&item, "last")?, body: Body::take(&mut item)? })
    }
}

/// The result of a query of a run's partition, in the order of the query.
#[derive(Default)]
struct Found {
    record: Option<Stored>,
    input: Option<Body>,
    rows: Vec<Row>,
    /// Whether the query stopped before the end of its range.
    more: bool,
    /// Whether all items up to the record were read.
    is_complete: bool,
}

/// The range of a query: from the first to the second sort key, both inclusive.
#[derive(Clone, Copy)]
struct KeyRange<'a>(&'a str, &'a str);

impl Runs {
    pub(super) async fn read_log(&self, run: RunId, range: LogRange) -> Result<Option<LogRead>, StoreError> {
        let range = LogRange { from: range.from.max(1), ..range };
        for _ in 0..READ_ATTEMPTS {
            let Some((stored, rows, more)) = self.rows_of(run, range).await? else { return Ok(None) };
            let end = rows.last().map_or(range.from - 1, |row| row.first);
            if !more && stored.tail > end && stored.tail <= range.to {
                continue;
            }
            let entries = try_join_all(rows.into_iter().map(|row| self.entry(run, row))).await?;
            return Ok(Some(LogRead { app: stored.facts.app, record: stored.record, entries, more }));
        }
        Err(record_ahead_of_log())
    }

    /// Returns the record, the rows of a range, and whether the range has more.
    async fn rows_of(
        &self,
        run: RunId,
        range: LogRange,
    ) -> Result<Option<(Stored, Vec<Row>, bool)>, StoreError> {
        let from = range.from;
        let all = KeyRange(&table::log_sk(1), table::RUN_SK);
        let mut stored = None;
        if from > 1 {
            let mut tail = self.query(run, all, Some(TAIL_ROWS + 1), false).await?;
            let Some(record) = self.unless_expired(run, tail.record.take()) else { return Ok(None) };
            tail.rows.reverse();
            if tail.rows.first().is_none_or(|row| row.first <= from) {
                tail.rows.retain(|row| row.last >= from && row.first <= range.to);
                let more = cut(&mut tail.rows, range.bytes);
                return Ok(Some((record, tail.rows, more)));
            }
            stored = Some(record);
        }
        let mut found = self.forward(run, range).await?;
        if found.rows.first().is_none_or(|row| row.first > from) && from > 1 {
            let before = KeyRange(&table::log_sk(1), &table::log_sk(from - 1));
            let holder = self.query(run, before, Some(1), false).await?.rows.pop();
            if let Some(holder) = holder.filter(|row| row.last >= from) {
                found.rows.insert(0, holder);
                found.more |= cut(&mut found.rows, range.bytes);
            }
        }
        if let Some(record) = found.record.take() {
            stored = Some(record);
        } else if stored.is_none() && !found.is_complete {
            let only = KeyRange(table::RUN_SK, table::RUN_SK);
            stored = self.query(run, only, Some(1), false).await?.record;
        }
        Ok(self.unless_expired(run, stored).map(|stored| (stored, found.rows, found.more)))
    }

    /// Reads the rows that begin in a range, up to its limit on bytes, and the record if it reads that far.
    async fn forward(&self, run: RunId, range: LogRange) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let mut next = table::log_sk(range.from);
        let mut bytes = 0;
        loop {
            let page = self.query(run, KeyRange(&next, table::RUN_SK), None, true).await?;
            for row in page.rows {
                if row.first > range.to {
                    found.record = page.record;
                    return Ok(found);
                }
                if !found.rows.is_empty() && bytes >= range.bytes {
                    found.more = true;
                    return Ok(found);
                }
                bytes += row.body.size();
                next = table::log_sk(row.last + 1);
                found.rows.push(row);
            }
            if !page.more {
                found.record = page.record;
                found.is_complete = true;
                return Ok(found);
            }
        }
    }

    pub(super) async fn read_head(&self, run: RunId) -> Result<Option<Head>, StoreError> {
        let range = KeyRange(&table::log_sk(1), table::RUN_SK);
        let Some((stored, _, last)) = self.tail(run, range, 2).await? else { return Ok(None) };
        let last = self.last(run, last).await?;
        let Facts { app, expires_at, .. } = stored.facts;
        Ok(Some(Head { app, expires_at, record: stored.record, last }))
    }

    pub(super) async fn get_run(&self, run: RunId) -> Result<Option<StoredRun>, StoreError> {
        let range = KeyRange(&table::log_sk(1), table::INPUT_SK);
        let Some((stored, input, last)) = self.tail(run, range, 3).await? else { return Ok(None) };
        self.stored_run(stored, input, last).await.map(Some)
    }

    /// A run from its items, with its content that is in the bucket.
    async fn stored_run(
        &self,
        mut stored: Stored,
        input: Option<Body>,
        last: Option<Row>,
    ) -> Result<StoredRun, StoreError> {
        let parameters = input.or_else(|| stored.body.take());
        let run = stored.run;
        let parameters = async {
            let parameters = parameters.ok_or_else(|| {
                StoreError::Failed(format!("the parameters of run {run} are missing in the table").into())
            })?;
            self.json(parameters).await
        };
        let (parameters, last) = try_join(parameters, self.last(run, last)).await?;
        let new: NewRun = item::new_run(&stored, &parameters)?;
        Ok(StoredRun { new, record: stored.record, last })
    }

    /// A run from the items that a batch returned, see [`Runs::list_page`].
    pub(super) async fn run_from(&self, items: Vec<Item>) -> Result<Option<StoredRun>, StoreError> {
        let mut found = Found::default();
        items.into_iter().try_for_each(|item| found.add(item))?;
        let run = found.record.as_ref().map(|stored| stored.run);
        match (run, found.record) {
            (Some(run), stored) => match self.unless_expired(run, stored) {
                Some(stored) => self.stored_run(stored, found.input, found.rows.pop()).await.map(Some),
                None => Ok(None),
            },
            (None, _) => Ok(None),
        }
    }

    /// Reads the record and the last entry, by one query backward of `limit` items.
    async fn tail(
        &self,
        run: RunId,
        range: KeyRange<'_>,
        limit: i32,
    ) -> Result<Option<(Stored, Option<Body>, Option<Row>)>, StoreError> {
        for _ in 0..READ_ATTEMPTS {
            let found = self.query(run, range, Some(limit), false).await?;
            let Some(stored) = self.unless_expired(run, found.record) else { return Ok(None) };
            let last = found.rows.into_iter().next();
            if stored.tail <= last.as_ref().map_or(0, |row| row.first) {
                return Ok(Some((stored, found.input, last)));
            }
        }
        Err(record_ahead_of_log())
    }

    async fn last(&self, run: RunId, row: Option<Row>) -> Result<Option<Entry>, StoreError> {
        match row {
            Some(row) => self.entry(run, row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn entry(&self, run: RunId, row: Row) -> Result<Entry, StoreError> {
        let json = self.json(row.body).await?;
        item::entry_of(run, row.first, &json)
    }

    async fn json(&self, body: Body) -> Result<String, StoreError> {
        match body {
            Body::Inline(json) => Ok(json),
            Body::Object { key, .. } => self.bodies.get(&key).await,
        }
    }

    /// Returns the record unless its run has expired; caches its immutable facts.
    fn unless_expired(&self, run: RunId, stored: Option<Stored>) -> Option<Stored> {
        let stored = stored.filter(|stored| stored.facts.ttl() > self.seconds_now())?;
        self.known.learn(run, stored.facts);
        Some(stored)
    }

    /// Returns the immutable facts of a run: from memory, or by a read.
    pub(super) async fn facts(&self, run: RunId) -> Result<Option<Facts>, StoreError> {
        if let Some(facts) = self.known.find(run) {
            return Ok(Some(facts));
        }
        let only = KeyRange(table::RUN_SK, table::RUN_SK);
        let found = self.query(run, only, Some(1), false).await?;
        Ok(self.unless_expired(run, found.record).map(|stored| stored.facts))
    }

    async fn query(
        &self,
        run: RunId,
        KeyRange(from, to): KeyRange<'_>,
        limit: Option<i32>,
        forward: bool,
    ) -> Result<Found, StoreError> {
        let mut terms = Terms::default();
        let pk = terms.compare(PK, "=", text(table::run_pk(run)));
        let (sk, from, to) = (terms.name(SK), terms.value(text(from)), terms.value(text(to)));
        let query = self
            .run_query(terms)
            .key_condition_expression(format!("{pk} AND {sk} BETWEEN {from} AND {to}"))
            .consistent_read(true)
            .scan_index_forward(forward)
            .set_limit(limit);
        let output = query.send().await.map_err(store_error)?;
        let mut found = Found { more: output.last_evaluated_key.is_some(), ..Found::default() };
        output.items.unwrap_or_default().into_iter().try_for_each(|item| found.add(item))?;
        Ok(found)
    }

    pub(super) fn run_query(&self, terms: Terms) -> QueryFluentBuilder {
        self.dynamodb()
            .query()
            .table_name(self.table())
            .set_expression_attribute_names(Some(terms.names))
            .set_expression_attribute_values(Some(terms.values))
    }

    pub(super) async fn due_runs(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(AppId, RunId)>, StoreError> {
        let shards = (0..DUE_SHARDS).map(|shard| self.due_in(shard, now, limit));
        let mut due: Vec<_> = try_join_all(shards).await?.into_iter().flatten().collect();
        due.sort_unstable_by_key(|(at, _, run)| (*at, *run));
        due.truncate(limit);
        Ok(due.into_iter().map(|(_, app, run)| (app, run)).collect())
    }

    async fn due_in(
        &self,
        shard: u8,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(i64, AppId, RunId)>, StoreError> {
        let mut terms = Terms::default();
        let of_shard = terms.compare(BY_DUE.hash.0, "=", number(shard));
        let is_due = terms.compare(BY_DUE.range.0, "<=", number(now.0));
        let query = self
            .run_query(terms)
            .index_name(BY_DUE.name)
            .key_condition_expression(format!("{of_shard} AND {is_due}"))
            .limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX));
        let output = query.send().await.map_err(store_error)?;
        Ok(output
            .items()
            .iter()
            .filter_map(|item| {
                let run = table::run_of(item::text_of(item, PK)?)?;
                Some((item::number_of(item, BY_DUE.range.0)?, item::app_of(item)?, run))
            })
            .collect())
    }

    pub(super) async fn wait_for_change(&self, run: RunId, after: Sequence, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        let mut interval = MIN_POLL_INTERVAL;
        // A failure also ends the wait: the caller's next read reports it.
        while tokio::time::timeout_at(deadline, self.last_sequence(run))
            .await
            .is_ok_and(|last| last.is_ok_and(|last| last <= after))
        {
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline.min(now + interval)).await;
            interval = MAX_POLL_INTERVAL.min(interval * 3 / 2);
        }
    }

    /// The last sequence of a run's log; 0 if there is none.
    async fn last_sequence(&self, run: RunId) -> Result<Sequence, StoreError> {
        let mut terms = Terms::default();
        let pk = terms.compare(PK, "=", text(table::run_pk(run)));
        let log = terms.name(SK);
        let prefix = terms.value(text("LOG#"));
        let last = terms.name("last");
        let query = self
            .run_query(terms)
            .key_condition_expression(format!("{pk} AND begins_with({log}, {prefix})"))
            .projection_expression(last)
            .scan_index_forward(false)
            .limit(1);
        let output = query.send().await.map_err(store_error)?;
        Ok(output.items().iter().find_map(|item| item::number_of(item, "last")).unwrap_or(0))
    }
}

impl Found {
    fn add(&mut self, mut item: Item) -> Result<(), StoreError> {
        match item::text_of(&item, SK) {
            Some(table::RUN_SK) => self.record = Some(Stored::read(item)?),
            Some(table::INPUT_SK) => self.input = Body::take(&mut item),
            Some(sk) => {
                let sk = sk.to_owned();
                self.rows.push(Row::read(item).ok_or_else(|| {
                    StoreError::Failed(format!("the item {sk} of a run has an unknown format").into())
                })?);
            }
            None => {}
        }
        Ok(())
    }
}

/// Drops the rows beyond a number of bytes; returns whether it dropped any.
fn cut(rows: &mut Vec<Row>, max_bytes: usize) -> bool {
    let mut bytes = 0;
    let fit = rows.iter().take_while(|row| {
        let fits = bytes < max_bytes;
        bytes += row.body.size();
        fits
    });
    let fit = fit.count().max(1);
    let more = rows.len() > fit;
    rows.truncate(fit);
    more
}

fn record_ahead_of_log() -> StoreError {
    StoreError::Unknown(format!("the record was ahead of the log in {READ_ATTEMPTS} reads").into())
}
