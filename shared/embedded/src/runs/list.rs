//! Lists of runs.
//!
//! Every index that lists holds `(what is filtered by, reported status, time, run)`, so runs of one status lie in order of
//! time. A list over several statuses merges their ranges. An order is a row of *parts*, each merged by time: `started_at`
//! is one part with all statuses, `status` one for each, `ended_at` those that ended and then those that have not.
//!
//! Of several filters the one with the fewest runs picks the index, and the others are looked up for each of its
//! runs: two filters that each match very many runs, and hardly any run both, are the slow case.

use super::{
    cursor::{Cursor, QueryHash},
    int, read,
    row::reported_code,
    statement,
};
use crate::database::Fault;
use runyard_runs::{
    AppId, COUNT_CAP, ListError, ListQuery, PageStart, ReportedStatus, RunId, RunPage, SortBy,
};
use rusqlite::{Connection, ToSql};
use std::collections::{BTreeSet, VecDeque};
use uuid::Uuid;

/// So many labels a run has at most.
const LABELS: usize = 16;

/// A list that is served.
pub(super) struct Plan {
    app: AppId,
    query: QueryHash,
    filters: Vec<Filter>,
    /// The statuses asked for, each once.
    statuses: Vec<ReportedStatus>,
    parts: Vec<Part>,
    start: Start,
    page_size: usize,
}

/// A piece of the order, merged from one range a status.
struct Part {
    statuses: Vec<i64>,
    time: Time,
    descending: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    Created,
    Ended,
}

enum Start {
    Offset(usize),
    After(Cursor),
}

enum Filter {
    User(String),
    Session(Uuid),
    Metadata(String, String),
}

impl Plan {
    pub(super) fn of(query: &ListQuery) -> Result<Self, ListError> {
        let statuses: Vec<_> = ReportedStatus::ALL
            .into_iter()
            .filter(|status| query.statuses.is_empty() || query.statuses.contains(status))
            .collect();
        let mut filters = Vec::new();
        filters.extend(query.session_id.map(Filter::Session));
        filters.extend(query.user_id.clone().map(Filter::User));
        let labels: BTreeSet<_> = query.metadata.iter().cloned().collect();
        if labels.len() > LABELS {
            return Err(ListError::NotServed(format!("filter by {LABELS} labels at most: no run has more")));
        }
        filters.extend(labels.into_iter().map(|(key, value)| Filter::Metadata(key, value)));
        let parts = parts(query, &statuses, filters.is_empty()).ok_or_else(not_served)?;
        let hash = QueryHash::of(query);
        let start = match &query.start {
            PageStart::Offset(offset) => Start::Offset(usize::try_from(*offset).unwrap_or(usize::MAX)),
            PageStart::Cursor(text) => Start::After(
                Cursor::decode(text, hash)
                    .filter(|cursor| usize::from(cursor.part) < parts.len())
                    .ok_or(ListError::BadCursor)?,
            ),
        };
        let page_size = query.page_size as usize;
        Ok(Self { app: query.app, query: hash, filters, statuses, parts, start, page_size })
    }

    pub(super) fn page(&self, connection: &Connection) -> Result<RunPage, Fault> {
        read::snapshot(connection, || {
            let (driver, counted) = self.driver(connection)?;
            let total = match counted {
                Some(total) if self.filters.len() < 2 => total,
                _ => self.count(connection, driver, true)?,
            };
            let (rows, more) = self.rows(connection, driver)?;
            let next_cursor = match rows.last() {
                Some(last) if more => Some(last.encode(self.query)),
                _ => None,
            };
            let mut runs = Vec::with_capacity(rows.len());
            for row in &rows {
                runs.extend(read::stored(connection, RunId(row.run))?);
            }
            Ok(RunPage { runs, total_count: total.min(COUNT_CAP), capped: total > COUNT_CAP, next_cursor })
        })
    }

    /// The filter with the fewest runs, and how many.
    fn driver(&self, connection: &Connection) -> Result<(Option<usize>, Option<u64>), Fault> {
        let mut best = (None, None);
        for index in 0..self.filters.len() {
            let count = self.count(connection, Some(index), false)?;
            if best.1.is_none_or(|least| count < least) {
                best = (Some(index), Some(count));
            }
        }
        Ok(best)
    }

    /// How many runs there are, to one more than [`COUNT_CAP`]; with `all` filters or with that of the driver only.
    fn count(&self, connection: &Connection, driver: Option<usize>, all: bool) -> Result<u64, Fault> {
        let mut total = 0;
        let (status, codes) = if self.statuses.len() == ReportedStatus::ALL.len() {
            (false, vec![0])
        } else {
            (true, self.statuses.iter().map(|status| reported_code(*status)).collect())
        };
        for code in codes {
            let mut select = Select::of(self, driver, Time::Created, all);
            if status {
                select.and(&["t.reported = ?"], code);
            }
            let limit = int(COUNT_CAP + 1 - total);
            let sql = format!("SELECT count(*) FROM (SELECT 1 {} LIMIT ?)", select.sql());
            select.values.push(Box::new(limit));
            let count: i64 =
                statement(connection, &sql)?.query_row(select.params().as_slice(), |row| row.get(0))?;
            total += count.unsigned_abs();
            if total > COUNT_CAP {
                break;
            }
        }
        Ok(total)
    }

    /// The rows of the page, and whether there are more after them.
    fn rows(&self, connection: &Connection, driver: Option<usize>) -> Result<(Vec<Cursor>, bool), Fault> {
        let (mut skip, first_part, mut after) = match self.start {
            Start::Offset(offset) => (offset, 0, None),
            Start::After(cursor) => (0, cursor.part, Some((cursor.time, cursor.run))),
        };
        let mut page = Vec::with_capacity(self.page_size);
        for (number, part) in (0_u8..).zip(&self.parts).skip(usize::from(first_part)) {
            let mut merge = Merge::new(self, part, driver, after.take(), skip);
            while let Some((time, run)) = merge.next(connection)? {
                if skip > 0 {
                    skip -= 1;
                } else if page.len() < self.page_size {
                    page.push(Cursor { part: number, time, run });
                } else {
                    return Ok((page, true));
                }
            }
        }
        Ok((page, false))
    }
}

/// The parts of the order that is asked for, if an index serves it.
fn parts(query: &ListQuery, statuses: &[ReportedStatus], unfiltered: bool) -> Option<Vec<Part>> {
    let codes = |keep: fn(ReportedStatus) -> bool| -> Vec<i64> {
        statuses.iter().copied().filter(|status| keep(*status)).map(reported_code).collect()
    };
    let [first, rest @ ..] = query.sort.as_slice() else { return None };
    match (first.by, rest) {
        (SortBy::StartedAt, []) => {
            Some(vec![Part { statuses: codes(|_| true), time: Time::Created, descending: first.descending }])
        }
        (SortBy::Status, [] | [_]) => {
            let within = match rest {
                [] => true,
                [within] if within.by == SortBy::StartedAt => within.descending,
                _ => return None,
            };
            let mut codes = codes(|_| true);
            if first.descending {
                codes.reverse();
            }
            let part = |code| Part { statuses: vec![code], time: Time::Created, descending: within };
            Some(codes.into_iter().map(part).collect())
        }
        (SortBy::EndedAt, []) if unfiltered => Some(vec![
            Part { statuses: codes(has_ended), time: Time::Ended, descending: first.descending },
            Part {
                statuses: codes(|status| !has_ended(status)),
                time: Time::Created,
                descending: first.descending,
            },
        ]),
        _ => None,
    }
}

fn has_ended(status: ReportedStatus) -> bool {
    matches!(status, ReportedStatus::Completed | ReportedStatus::Failed | ReportedStatus::Canceled)
}

fn not_served() -> ListError {
    ListError::NotServed(
        "served are: started_at and status, each alone or as \"status,started_at\", with any filters; ended_at alone, \
         with no filter but status; each of them also descending"
            .to_owned(),
    )
}

/// The part of a statement from `FROM` on, and its values.
struct Select {
    from: String,
    conditions: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Select {
    /// The runs of one index, as `t`; with `all`, those that the other filters hold too.
    fn of(plan: &Plan, driver: Option<usize>, time: Time, all: bool) -> Self {
        let filter = driver.map(|index| &plan.filters[index]);
        let table = match (filter, time) {
            (Some(filter), _) => filter.table(),
            (None, Time::Created) => ("runs", "INDEXED BY runs_by_status"),
            (None, Time::Ended) => ("runs", "INDEXED BY runs_by_end"),
        };
        let mut select = Self {
            from: format!("{} t {}", table.0, table.1),
            conditions: "t.app = ?".to_owned(),
            values: vec![Box::new(plan.app.0)],
        };
        match filter {
            Some(filter) => select.filter("t", filter),
            None if time == Time::Ended => select.conditions += " AND t.ended_at IS NOT NULL",
            None => {}
        }
        let others = plan.filters.iter().enumerate().filter(|(index, _)| all && Some(*index) != driver);
        for (index, other) in others {
            select.look_up(&format!("o{index}"), other, plan.run_column(driver));
        }
        select
    }

    /// One look into the index of `filter` for each run. `CROSS JOIN` is SQLite's word for a join in this order.
    fn look_up(&mut self, name: &str, filter: &Filter, run: &str) {
        let (table, index) = filter.table();
        self.from += &[" CROSS JOIN ", table, " ", name, " ", index].concat();
        for column in ["app", "reported", "created_at"] {
            self.conditions += &[" AND ", name, ".", column, " = t.", column].concat();
        }
        self.conditions += &[" AND ", name, ".", filter.run_column(), " = t.", run].concat();
        self.filter(name, filter);
    }

    fn filter(&mut self, name: &str, filter: &Filter) {
        match filter {
            Filter::User(user) => self.and(&[name, ".user_id = ?"], user.clone()),
            Filter::Session(session) => self.and(&[name, ".session_id = ?"], *session),
            Filter::Metadata(key, value) => {
                self.and(&[name, ".key = ?"], key.clone());
                self.and(&[name, ".value = ?"], value.clone());
            }
        }
    }

    fn and(&mut self, condition: &[&str], value: impl ToSql + 'static) {
        self.conditions += " AND ";
        self.conditions.extend(condition.iter().copied());
        self.values.push(Box::new(value));
    }

    fn sql(&self) -> String {
        format!("FROM {} WHERE {}", self.from, self.conditions)
    }

    fn params(&self) -> Vec<&dyn ToSql> {
        self.values.iter().map(AsRef::as_ref).collect()
    }
}

impl Filter {
    /// The table whose index it is, and that index.
    fn table(&self) -> (&'static str, &'static str) {
        match self {
            Self::User(_) => ("runs", "INDEXED BY runs_by_user"),
            Self::Session(_) => ("runs", "INDEXED BY runs_by_session"),
            Self::Metadata(..) => ("metadata", ""),
        }
    }

    /// How its table calls the run's id.
    fn run_column(&self) -> &'static str {
        match self {
            Self::User(_) | Self::Session(_) => "id",
            Self::Metadata(..) => "run",
        }
    }
}

impl Plan {
    fn run_column(&self, driver: Option<usize>) -> &'static str {
        driver.map_or("id", |index| self.filters[index].run_column())
    }
}

/// The ranges of a part, merged by time and run.
struct Merge<'p> {
    plan: &'p Plan,
    part: &'p Part,
    driver: Option<usize>,
    ranges: Vec<Range>,
    /// So many rows are fetched of a range at once.
    fetch: usize,
}

struct Range {
    status: i64,
    fetched: VecDeque<(i64, Uuid)>,
    after: Option<(i64, Uuid)>,
    is_whole: bool,
}

impl<'p> Merge<'p> {
    fn new(
        plan: &'p Plan,
        part: &'p Part,
        driver: Option<usize>,
        after: Option<(i64, Uuid)>,
        skip: usize,
    ) -> Self {
        let range =
            |status: &i64| Range { status: *status, fetched: VecDeque::new(), after, is_whole: false };
        let ranges = part.statuses.iter().map(range).collect();
        Self { plan, part, driver, ranges, fetch: (plan.page_size + 1).max(skip.min(1024)) }
    }

    fn next(&mut self, connection: &Connection) -> Result<Option<(i64, Uuid)>, Fault> {
        let mut best: Option<(usize, (i64, Uuid))> = None;
        for index in 0..self.ranges.len() {
            if self.ranges[index].fetched.is_empty() && !self.ranges[index].is_whole {
                self.fill(connection, index)?;
            }
            let Some(row) = self.ranges[index].fetched.front().copied() else { continue };
            let is_better =
                best.is_none_or(|(_, best)| if self.part.descending { row > best } else { row < best });
            if is_better {
                best = Some((index, row));
            }
        }
        Ok(best.and_then(|(index, _)| self.ranges[index].fetched.pop_front()))
    }

    fn fill(&mut self, connection: &Connection, index: usize) -> Result<(), Fault> {
        let range = &mut self.ranges[index];
        let time = if self.part.time == Time::Ended { "ended_at" } else { "created_at" };
        let run = self.plan.run_column(self.driver);
        let mut select = Select::of(self.plan, self.driver, self.part.time, true);
        select.and(&["t.reported = ?"], range.status);
        let (than, direction) = if self.part.descending { ('<', "DESC") } else { ('>', "ASC") };
        if let Some((time_after, run_after)) = range.after {
            select.and(&[&format!("(t.{time}, t.{run}) {than} (?, ?)")], time_after);
            select.values.push(Box::new(run_after));
        }
        select.values.push(Box::new(int(self.fetch as u64)));
        let sql = format!(
            "SELECT t.{time}, t.{run} {} ORDER BY t.{time} {direction}, t.{run} {direction} LIMIT ?",
            select.sql()
        );
        let mut statement = statement(connection, &sql)?;
        let mut rows = statement.query(select.params().as_slice())?;
        while let Some(row) = rows.next()? {
            range.fetched.push_back((row.get(0)?, row.get(1)?));
        }
        range.is_whole = range.fetched.len() < self.fetch;
        range.after = range.fetched.back().copied();
        Ok(())
    }
}
