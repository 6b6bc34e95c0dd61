//! Runs of one status in the order of an index, or of several at once.

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

/// The time that an index is ordered by, and the run.
pub(super) type Row = (i64, Uuid);

/// The most and the least rows that are fetched at once: many where the rows of a piece are used, few where they are
/// jumped over.
const FETCH: RangeInclusive<usize> = 8..=512;

/// A piece is worth reading on if at least one row in this many is used: a jump costs as much.
const WORTH: usize = 16;

/// An index that lists the runs of an app, or those of them that a filter holds.
#[derive(Clone, Copy)]
pub(super) struct Index<'p> {
    pub(super) app: AppId,
    pub(super) filter: Option<&'p Filter>,
    pub(super) time: Time,
}

impl Index<'_> {
    /// How many runs it holds, of one status or of all, up to `most`.
    pub(super) fn count(
        &self,
        connection: &Connection,
        status: Option<i64>,
        most: u64,
    ) -> Result<u64, Fault> {
        let mut select = self.select();
        if let Some(status) = status {
            select.and("reported = ?", status);
        }
        let sql = format!("SELECT count(*) FROM (SELECT 1 {} LIMIT ?)", select.sql);
        select.values.push(Box::new(int(most)));
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

/// The runs of one status that stand in all of some indexes, in their order.
pub(super) struct Range {
    scans: Vec<Scan>,
    descending: bool,
}

impl Range {
    /// From after `after` on; `fetch` rows are likely to be wanted.
    pub(super) fn new(
        indexes: Vec<Index<'_>>,
        status: i64,
        descending: bool,
        after: Option<Row>,
        fetch: usize,
    ) -> Self {
        let from = after.map(|row| From { row, itself: false });
        let scan = |index: Index<'_>| {
            let mut select = index.select();
            select.and("reported = ?", status);
            let sql = Sql::of(&index, &select, descending);
            let fetched = VecDeque::new();
            Scan { select, sql, descending, fetched, from, is_whole: false, fetch, used: None }
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

/// One index, fetched piece by piece.
struct Scan {
    select: Select,
    sql: Sql,
    descending: bool,
    fetched: VecDeque<Row>,
    /// Where the next piece begins.
    from: Option<From>,
    is_whole: bool,
    fetch: usize,
    /// How often a row of the last piece was looked at.
    used: Option<usize>,
}

#[derive(Clone, Copy)]
struct From {
    row: Row,
    itself: bool,
}

impl Scan {
    /// The first row that is not before `wanted`. Rows before it are gone.
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
            if self.is_whole {
                return Ok(None);
            }
            // Far ahead, the rows in between are not even read.
            if let Some(wanted) = wanted
                && self.from.is_none_or(|from| is_before(from.row, wanted, self.descending))
            {
                self.from = Some(From { row: wanted, itself: true });
            }
            self.fill(connection)?;
        }
    }

    fn fill(&mut self, connection: &Connection) -> Result<(), Fault> {
        if let Some(used) = self.used {
            let fetch = if used * WORTH >= self.fetch { self.fetch * 2 } else { self.fetch / 2 };
            self.fetch = fetch.clamp(*FETCH.start(), *FETCH.end());
        }
        self.used = Some(0);
        let limit = int(self.fetch as u64);
        let mut params = self.select.params();
        let sql = match &self.from {
            None => &self.sql.first,
            Some(from) => {
                params.extend([&from.row.0 as &dyn ToSql, &from.row.1]);
                if from.itself { &self.sql.from } else { &self.sql.after }
            }
        };
        params.push(&limit);
        let mut statement = statement(connection, sql)?;
        let mut rows = statement.query(params.as_slice())?;
        while let Some(row) = rows.next()? {
            self.fetched.push_back((row.get(0)?, row.get(1)?));
        }
        self.is_whole = self.fetched.len() < self.fetch;
        self.from = self.fetched.back().map(|row| From { row: *row, itself: false });
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
