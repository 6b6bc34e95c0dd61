//! Lists of runs.
//!
//! Every list walks one index in order of time, from the newest or the oldest run, and filters its rows: by statuses,
//! metadata and, within a session, the user, all of which the index contains. So the order `started_at` is supported
//! with any filters, and no other order is.
//!
//! The first page is part of the walk that counts: one request for every MiB of the index, about 9,400 runs, until
//! 10,000 matched. The cursor carries the count, and pages by cursor walk only to their end. A walk ends after
//! [`MAX_WALK_REQUESTS`] requests in any case: then the page may be short, its cursor continues from there, and the
//! count is a lower bound, reported as capped. Without filters this does not happen; with them, only in an app of more
//! than about 150,000 runs.
//!
//! The rows give the keys of records and last entries, which are fetched together. A page whose runs hold more than
//! [`PAGE_BYTES`] is refused before content is read from the bucket: it would not fit into a function's memory. A run
//! that is executing is shown as of the last entry that changed its status: its usage since then is not read.

use super::{
    Runs,
    cursor::{Cursor, QueryHash, Total},
    expression::Terms,
    item::{self, Item, bytes, number},
};
use crate::{
    error::store_error,
    table::{self, BY_APP, BY_SESSION, BY_USER, Index, PK, TTL},
};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::future::try_join_all;
use runyard_runs::{
    COUNT_CAP, ListError, ListQuery, PAGE_BYTES, PageStart, ReportedStatus, RunId, RunPage, RunStatus,
    Sequence, SortBy, StoreError, StoredRun,
};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// Maximum number of metadata entries of a run.
const MAX_LABELS: usize = 16;

/// Maximum number of requests that walk an index for one list, per shard.
const MAX_WALK_REQUESTS: usize = 16;

/// Maximum number of items that DynamoDB returns in one batch.
const BATCH_ITEMS: usize = 100;

/// Attempts to read all items of a batch.
const BATCH_ATTEMPTS: u32 = 8;

/// How a list is read.
struct Plan<'q> {
    query: &'q ListQuery,
    hash: QueryHash,
    index: Index,
    partitions: Vec<AttributeValue>,
    labels: Vec<[u8; 8]>,
    descending: bool,
    after: Option<Cursor>,
    offset: usize,
    page_size: usize,
}

/// A row of an index.
#[derive(Clone, Copy)]
struct Row {
    at: [u8; 22],
    /// The first sequence of the last entry that changed the run's reported status; 0 if there is none.
    tail: Sequence,
    has_input: bool,
}

/// The result of a walk.
struct Walk {
    rows: Vec<Row>,
    /// The position where it stopped early, if it did.
    stopped_at: Option<[u8; 22]>,
}

impl<'q> Plan<'q> {
    fn of(query: &'q ListQuery, shards: u8) -> Result<Self, ListError> {
        let [sort] = query.sort.as_slice() else { return Err(not_served()) };
        if sort.by != SortBy::StartedAt {
            return Err(not_served());
        }
        let labels: BTreeSet<_> = query.metadata.iter().collect();
        if labels.len() > MAX_LABELS {
            return Err(ListError::NotServed(format!(
                "filter by {MAX_LABELS} labels at most: no run has more"
            )));
        }
        let labels = labels.into_iter().map(|(key, value)| table::label_key(key, value)).collect();
        let (index, partitions) = match (query.session_id, &query.user_id) {
            (Some(session), _) => (BY_SESSION, vec![bytes(&table::session_key(query.app, session))]),
            (None, Some(user)) => (BY_USER, vec![bytes(&table::user_key(query.app, user))]),
            (None, None) => {
                (BY_APP, (0..shards).map(|shard| bytes(&table::app_key(query.app, shard))).collect())
            }
        };
        let hash = QueryHash::of(query);
        let (after, offset) = match &query.start {
            PageStart::Offset(offset) => (None, usize::try_from(*offset).unwrap_or(usize::MAX)),
            PageStart::Cursor(text) => (Some(Cursor::decode(text, hash).ok_or(ListError::BadCursor)?), 0),
        };
        let page_size = query.page_size as usize;
        let descending = sort.descending;
        Ok(Self { query, hash, index, partitions, labels, descending, after, offset, page_size })
    }

    /// The number of rows that the page and the count need.
    fn wanted(&self) -> usize {
        let page = self.offset.saturating_add(self.page_size) + 1;
        let count =
            if self.after.is_some() { 0 } else { usize::try_from(COUNT_CAP).unwrap_or(usize::MAX) + 1 };
        page.max(count)
    }

    /// Whether the query matches every row that has not expired.
    fn is_unfiltered(&self) -> bool {
        let by_user_too = self.query.session_id.is_some() && self.query.user_id.is_some();
        self.query.statuses.is_empty() && self.labels.is_empty() && !by_user_too
    }

    fn condition(&self, terms: &mut Terms, partition: &AttributeValue) -> String {
        let of = terms.compare(self.index.hash.0, "=", partition.clone());
        match &self.after {
            None => of,
            Some(cursor) => {
                let beyond = if self.descending { "<" } else { ">" };
                let after = terms.compare(self.index.range.0, beyond, bytes(&cursor.at));
                format!("{of} AND {after}")
            }
        }
    }

    fn filter(&self, terms: &mut Terms, seconds_now: i64) -> String {
        let mut all = vec![terms.compare(TTL, ">", number(seconds_now))];
        if !self.query.statuses.is_empty() {
            let statuses: Vec<_> = ReportedStatus::ALL
                .into_iter()
                .filter(|status| self.query.statuses.contains(status))
                .map(|status| is_reported(terms, status))
                .collect();
            // DynamoDB refuses redundant parentheses.
            all.push(match statuses.as_slice() {
                [one] => one.clone(),
                several => format!("({})", several.join(" OR ")),
            });
        }
        if let (Some(_), Some(user)) = (self.query.session_id, &self.query.user_id) {
            all.push(terms.compare("user", "=", bytes(&table::user_key(self.query.app, user))));
        }
        for label in &self.labels {
            all.push(format!("contains({}, {})", terms.name("labels"), terms.value(bytes(label))));
        }
        all.join(" AND ")
    }

    /// Whether `one` comes before `other` on the list.
    fn is_before(&self, one: &[u8; 22], other: &[u8; 22]) -> bool {
        if self.descending { one > other } else { one < other }
    }
}

/// The condition that a run has this status as callers see it.
fn is_reported(terms: &mut Terms, status: ReportedStatus) -> String {
    let stored = match status {
        ReportedStatus::Created => RunStatus::Created,
        ReportedStatus::Started => RunStatus::Started,
        ReportedStatus::Paused => RunStatus::Paused,
        ReportedStatus::Completed => RunStatus::Completed,
        ReportedStatus::Failed => RunStatus::Failed,
        ReportedStatus::Canceled => RunStatus::Canceled,
        ReportedStatus::AwaitingInput => {
            let statuses = [RunStatus::Started, RunStatus::Paused]
                .map(|status| terms.value(number(item::status_code(status))));
            let (un, st) = (terms.name("un"), terms.name("st"));
            return format!("attribute_exists({un}) AND {st} IN ({})", statuses.join(", "));
        }
    };
    let is = terms.compare("st", "=", number(item::status_code(stored)));
    match stored {
        RunStatus::Started | RunStatus::Paused => {
            format!("{is} AND attribute_not_exists({})", terms.name("un"))
        }
        _ => is,
    }
}

fn not_served() -> ListError {
    ListError::NotServed("must be started_at or -started_at, with any filters".to_owned())
}

impl Runs {
    pub(super) async fn list_page(&self, query: &ListQuery) -> Result<RunPage, ListError> {
        let plan = Plan::of(query, self.home.config.app_shards)?;
        let walks = plan.partitions.iter().map(|partition| self.walk(&plan, partition));
        let walks = try_join_all(walks).await?;
        let mut stopped_at: Option<[u8; 22]> = None;
        for at in walks.iter().filter_map(|walked| walked.stopped_at) {
            if stopped_at.is_none_or(|first| plan.is_before(&at, &first)) {
                stopped_at = Some(at);
            }
        }
        let mut rows: Vec<Row> = walks.into_iter().flat_map(|walked| walked.rows).collect();
        if plan.partitions.len() > 1 {
            rows.sort_unstable_by_key(|row| row.at);
            if plan.descending {
                rows.reverse();
            }
        }
        let total = plan.after.map_or_else(|| total(rows.len(), stopped_at.is_some()), |cursor| cursor.total);
        // Beyond the position where one shard's walk stopped, the rows of the other shards are not all of them.
        if let Some(at) = stopped_at {
            rows.retain(|row| !plan.is_before(&at, &row.at));
        }
        let more = rows.len() > plan.offset.saturating_add(plan.page_size);
        let page: Vec<Row> = rows.into_iter().skip(plan.offset).take(plan.page_size).collect();
        let next = if more { page.last().map(|row| row.at) } else { stopped_at };
        let next_cursor = next.map(|at| Cursor { at, total }.encode(plan.hash));
        let runs = self.fetch(&page).await?;
        Ok(RunPage { runs, total_count: total.count, capped: total.capped, next_cursor })
    }

    /// Walks one partition of the index until enough rows are found.
    async fn walk(&self, plan: &Plan<'_>, partition: &AttributeValue) -> Result<Walk, StoreError> {
        let wanted = plan.wanted();
        let mut rows: Vec<Row> = Vec::new();
        let mut start: Option<Item> = None;
        let mut stopped_at = None;
        for _ in 0..MAX_WALK_REQUESTS {
            let mut terms = Terms::default();
            let condition = plan.condition(&mut terms, partition);
            let filter = plan.filter(&mut terms, self.seconds_now());
            let columns = [plan.index.range.0, "tail", "input"].map(|name| terms.name(name));
            let limit = plan.is_unfiltered().then(|| wanted - rows.len());
            let query = self
                .run_query(terms)
                .index_name(plan.index.name)
                .key_condition_expression(condition)
                .filter_expression(filter)
                .projection_expression(columns.join(", "))
                .scan_index_forward(!plan.descending)
                .set_limit(limit.and_then(|limit| i32::try_from(limit).ok()))
                .set_exclusive_start_key(start.take());
            let output = query.send().await.map_err(store_error)?;
            rows.extend(output.items().iter().filter_map(Row::read));
            let Some(last) = output.last_evaluated_key else { return Ok(Walk { rows, stopped_at: None }) };
            if rows.len() >= wanted {
                rows.truncate(wanted);
                return Ok(Walk { rows, stopped_at: None });
            }
            stopped_at = at_of(&last, plan.index.range.0);
            start = Some(last);
        }
        Ok(Walk { rows, stopped_at })
    }

    /// Reads the runs of these rows. Omits runs that were deleted since.
    async fn fetch(&self, rows: &[Row]) -> Result<Vec<StoredRun>, ListError> {
        let runs: Vec<(RunId, Row)> =
            rows.iter().filter_map(|row| Some((table::run_at(&row.at)?, *row))).collect();
        let mut keys = Vec::with_capacity(runs.len() * 2);
        for (run, row) in &runs {
            keys.push(item::key(*run, table::RUN_SK));
            if row.has_input {
                keys.push(item::key(*run, table::INPUT_SK));
            }
            if row.tail > 0 {
                keys.push(item::key(*run, &table::log_sk(row.tail)));
            }
        }
        let batches = keys.chunks(BATCH_ITEMS).map(|keys| self.batch(keys.to_vec()));
        let found: Vec<Item> = try_join_all(batches).await?.into_iter().flatten().collect();
        let bytes: usize = found.iter().map(item::body_size).sum();
        if bytes > PAGE_BYTES && runs.len() > 1 {
            return Err(ListError::TooLarge);
        }
        let mut items: HashMap<String, Vec<Item>> = HashMap::new();
        for item in found {
            if let Some(pk) = item::text_of(&item, PK) {
                items.entry(pk.to_owned()).or_default().push(item);
            }
        }
        let found = runs.iter().map(|(run, _)| {
            let items = items.remove(&table::run_pk(*run)).unwrap_or_default();
            async move {
                match self.run_from(items).await {
                    Err(StoreError::Failed(error)) => {
                        tracing::warn!(%run, %error, "left out of a list: the run cannot be read");
                        Ok(None)
                    }
                    found => found,
                }
            }
        });
        Ok(try_join_all(found.collect::<Vec<_>>()).await?.into_iter().flatten().collect())
    }

    /// Reads the items with these keys, at most [`BATCH_ITEMS`].
    async fn batch(&self, mut keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::with_capacity(keys.len());
        for attempt in 0..BATCH_ATTEMPTS {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let wanted = wanted.map_err(|error| StoreError::Failed(error.into()))?;
            let batch = self.dynamodb().batch_get_item().request_items(self.table(), wanted);
            let output = batch.send().await.map_err(store_error)?;
            items.extend(output.responses.unwrap_or_default().into_values().flatten());
            // Items that did not fit into 16 MiB, or were throttled.
            keys = output
                .unprocessed_keys
                .unwrap_or_default()
                .into_values()
                .flat_map(|keys| keys.keys)
                .collect();
            if keys.is_empty() {
                return Ok(items);
            }
            tokio::time::sleep(Duration::from_millis(10 << attempt)).await;
        }
        Err(StoreError::Unknown(
            format!("the table did not return all items of a batch in {BATCH_ATTEMPTS} attempts").into(),
        ))
    }
}

impl Row {
    fn read(item: &Item) -> Option<Self> {
        Some(Self {
            at: at_of(item, "at")?,
            tail: item::number_of(item, "tail").unwrap_or(0),
            has_input: item.contains_key("input"),
        })
    }
}

fn at_of(item: &Item, name: &str) -> Option<[u8; 22]> {
    item.get(name)?.as_b().ok()?.as_ref().try_into().ok()
}

fn total(found: usize, is_partial: bool) -> Total {
    let found = found as u64;
    Total { count: found.min(COUNT_CAP), capped: found > COUNT_CAP || is_partial }
}
