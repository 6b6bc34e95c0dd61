//! Runs of one status in the order of an index, or the intersection of several indexes.

use super::{
    int,
    list::{Filter, Time},
    statement,
};
use crate::database::Fault;
use runyard_runs::AppId;
use rusqlite::{Connection, ToSql};
use std::{collections::VecDeque, ops::RangeInclusive};
use uuid::Uuid;

/// The time by which an index is ordered, and the run.
pub(super) type Row = (i64, Uuid);

/// The minimum and maximum number of rows per fetch: many where most rows are used, few where most are skipped.
const FETCH_ROWS: RangeInclusive<usize> = 8..=512;

/// Fetches grow if at least one row in this many is used: a seek costs about as much as reading this many rows.
const ROWS_PER_SEEK: usize = 16;

/// An index of the runs of an app, or of those that match a filter.
#[derive(Clone, Copy)]
pub(super) struct Index<'p> {
    pub(super) app: AppId,
    pub(super) filter: Option<&'p Filter>,
    pub(super) time: Time,
}

impl Index<'_> {
    /// The number of runs of one status or of all, at most `max`.
    pub(super) fn count(&self, connection: &Connection, status: Option<i64>, max: u64) -> Result<u64, Fault> {
        let mut select = self.select();
        if let Some(status) = status {
            select.and("reported = ?", status);
        }
        let sql = format!("SELECT count(*) FROM (SELECT 1 {} LIMIT ?)", select.sql);
        select.values.push(Box::new(int(max)));
        let count: i64 =
            statement(connection, &sql)?.query_row(select.params().as_slice(), |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    fn select(&self) -> Select {
        let table = match (self.filter, self.time) {
            (None, Time::Created) => "runs INDEXED BY runs_by_status",
            (None, Time::Ended) => "runs INDEXED BY runs_by_end",
            (Some(Filter::User(_)), _) => "runs INDEXED BY runs_by_user",
            (Some(Filter::Session(_)), _) => "runs INDEXED BY runs_by_session",
            (Some(Filter::Metadata(..)), _) => "metadata",
        };
        let sql = ["FROM ", table, " WHERE app = ?"].concat();
        let mut select = Select { sql, values: vec![Box::new(self.app.0)] };
        match self.filter {
            Some(Filter::User(user)) => select.and("user_id = ?", user.clone()),
            Some(Filter::Session(session)) => select.and("session_id = ?", *session),
            Some(Filter::Metadata(key, value)) => {
                select.and("key = ?", key.clone());
                select.and("value = ?", value.clone());
            }
            None if self.time == Time::Ended => select.sql += " AND ended_at IS NOT NULL",
            None => {}
        }
        select
    }

    fn time_column(&self) -> &'static str {
        if self.time == Time::Ended { "ended_at" } else { "created_at" }
    }

    fn run_column(&self) -> &'static str {
        if matches!(self.filter, Some(Filter::Metadata(..))) { "run" } else { "id" }
    }
}

/// The part of a statement from `FROM` on, and its values.
struct Select {
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Select {
    fn and(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.sql += " AND ";
        self.sql += condition;
        self.values.push(Box::new(value));
    }

    fn params(&self) -> Vec<&dyn ToSql> {
        self.values.iter().map(AsRef::as_ref).collect()
    }
}

/// The runs of one status that are in all of some indexes, in the order of these.
pub(super) struct Range {
    scans: Vec<Scan>,
    descending: bool,
}

impl Range {
    /// Starts after the row `after`; the first fetch reads `fetch` rows.
    pub(super) fn new(
        indexes: Vec<Index<'_>>,
        status: i64,
        descending: bool,
        after: Option<Row>,
        fetch: usize,
    ) -> Self {
        let from = after.map(|row| From { row, inclusive: false });
        let scan = |index: Index<'_>| {
            let mut select = index.select();
            select.and("reported = ?", status);
            let sql = Sql::of(&index, &select, descending);
            let fetched = VecDeque::new();
            Scan { select, sql, descending, fetched, from, is_exhausted: false, fetch, used: None }
        };
        Self { scans: indexes.into_iter().map(scan).collect(), descending }
    }

    pub(super) fn next(&mut self, connection: &Connection) -> Result<Option<Row>, Fault> {
        let mut wanted: Option<Row> = None;
        let mut agreed = 0;
        let mut turn = 0;
        while agreed < self.scans.len() {
            let Some(row) = self.scans[turn].peek_from(connection, wanted)? else { return Ok(None) };
            debug_assert!(wanted.is_none_or(|wanted| !is_before(row, wanted, self.descending)));
            agreed = if wanted == Some(row) { agreed + 1 } else { 1 };
            wanted = Some(row);
            turn = (turn + 1) % self.scans.len();
        }
        for scan in &mut self.scans {
            scan.fetched.pop_front();
        }
        Ok(wanted)
    }
}

/// A scan of one index, which fetches some rows at a time.
struct Scan {
    select: Select,
    sql: Sql,
    descending: bool,
    fetched: VecDeque<Row>,
    /// Where the next fetch begins.
    from: Option<From>,
    is_exhausted: bool,
    fetch: usize,
    /// How often rows of the last fetch were used.
    used: Option<usize>,
}

#[derive(Clone, Copy)]
struct From {
    row: Row,
    inclusive: bool,
}

impl Scan {
    /// Returns the first row that is not before `wanted`. Drops the rows before it.
    fn peek_from(&mut self, connection: &Connection, wanted: Option<Row>) -> Result<Option<Row>, Fault> {
        loop {
            if let Some(wanted) = wanted {
                while self.fetched.front().is_some_and(|row| is_before(*row, wanted, self.descending)) {
                    self.fetched.pop_front();
                }
            }
            if let Some(row) = self.fetched.front() {
                self.used = self.used.map(|used| used + 1);
                return Ok(Some(*row));
            }
            if self.is_exhausted {
                return Ok(None);
            }
            // Seek to `wanted`, without reading the rows in between.
            if let Some(wanted) = wanted
                && self.from.is_none_or(|from| is_before(from.row, wanted, self.descending))
            {
                self.from = Some(From { row: wanted, inclusive: true });
            }
            self.fill(connection)?;
        }
    }

    fn fill(&mut self, connection: &Connection) -> Result<(), Fault> {
        if let Some(used) = self.used {
            let fetch = if used * ROWS_PER_SEEK >= self.fetch { self.fetch * 2 } else { self.fetch / 2 };
            self.fetch = fetch.clamp(*FETCH_ROWS.start(), *FETCH_ROWS.end());
        }
        self.used = Some(0);
        let limit = int(self.fetch as u64);
        let mut params = self.select.params();
        let sql = match &self.from {
            None => &self.sql.first,
            Some(from) => {
                params.extend([&from.row.0 as &dyn ToSql, &from.row.1]);
                if from.inclusive { &self.sql.from } else { &self.sql.after }
            }
        };
        params.push(&limit);
        let mut statement = statement(connection, sql)?;
        let mut rows = statement.query(params.as_slice())?;
        while let Some(row) = rows.next()? {
            self.fetched.push_back((row.get(0)?, row.get(1)?));
        }
        self.is_exhausted = self.fetched.len() < self.fetch;
        self.from = self.fetched.back().map(|row| From { row: *row, inclusive: false });
        Ok(())
    }
}

/// The statements of a scan.
struct Sql {
    first: String,
    from: String,
    after: String,
}

impl Sql {
    fn of(index: &Index<'_>, select: &Select, descending: bool) -> Self {
        let (time, run) = (index.time_column(), index.run_column());
        let (than, direction) = if descending { ("<", "DESC") } else { (">", "ASC") };
        let sql = |condition: &str| {
            let order = format!("{time} {direction}, {run} {direction}");
            format!("SELECT {time}, {run} {} {condition} ORDER BY {order} LIMIT ?", select.sql)
        };
        Self {
            first: sql(""),
            from: sql(&format!("AND ({time}, {run}) {than}= (?, ?)")),
            after: sql(&format!("AND ({time}, {run}) {than} (?, ?)")),
        }
    }
}

fn is_before(one: Row, other: Row, descending: bool) -> bool {
    if descending { one > other } else { one < other }
}
