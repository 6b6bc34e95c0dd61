//! Lists of runs.
//!
//! Every index for lists is over `(filter value, reported status, time, run)`, so the runs of one status are in order
//! of time. A list over several statuses merges their ranges. An order is a sequence of *parts*, each merged by time:
//! `started_at` is one part with all statuses, `status` one part per status, `ended_at` the runs that have ended and
//! then those that have not.
//!
//! With several filters, each has its own range, in the same order: their intersection is found by scanning them side
//! by side (`range`). The slow case is two filters that each match many runs, but hardly any run in common.

use super::{
    cursor::{Cursor, QueryHash},
    range::{Index, Range, Row},
    read,
    row::reported_code,
};
use crate::database::Fault;
use runyard_runs::{
    AppId, COUNT_CAP, ListError, ListQuery, PAGE_BYTES, PageStart, ReportedStatus, RunId, RunPage, SortBy,
};
use rusqlite::Connection;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Maximum number of a run's metadata values.
const MAX_METADATA: usize = 16;

/// How a list is read: the result of checking a query.
pub(super) struct Plan {
    app: AppId,
    query: QueryHash,
    filters: Vec<Filter>,
    /// The requested statuses, each once.
    statuses: Vec<ReportedStatus>,
    parts: Vec<Part>,
    start: Start,
    page_size: usize,
}

/// A part of the order, merged from one range per status.
struct Part {
    statuses: Vec<i64>,
    time: Time,
    descending: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Created,
    Ended,
}

enum Start {
    Offset(usize),
    After(Cursor),
}

pub(super) enum Filter {
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
        if labels.len() > MAX_METADATA {
            return Err(ListError::NotServed(format!(
                "filter by {MAX_METADATA} labels at most: no run has more"
            )));
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

    /// Reads the page; `None` if its runs are larger than [`PAGE_BYTES`] in total.
    pub(super) fn page(&self, connection: &Connection) -> Result<Option<RunPage>, Fault> {
        read::snapshot(connection, || {
            let total = self.count(connection)?;
            let (rows, more) = self.rows(connection)?;
            let next_cursor = match rows.last() {
                Some(last) if more => Some(last.encode(self.query)),
                _ => None,
            };
            let mut bytes = 0;
            for row in &rows {
                bytes += read::stored_bytes(connection, RunId(row.run))?;
                if bytes > PAGE_BYTES && rows.len() > 1 {
                    return Ok(None);
                }
            }
            let mut runs = Vec::with_capacity(rows.len());
            for row in &rows {
                let run = RunId(row.run);
                match read::stored(connection, run) {
                    Ok(stored) => runs.extend(stored),
                    Err(fault @ (Fault::Json(_) | Fault::Content(_) | Fault::Version(_))) => {
                        tracing::warn!(%run, error = %fault, "left out of a list: the run cannot be read");
                    }
                    Err(fault) => return Err(fault),
                }
            }
            let (total_count, capped) = (total.min(COUNT_CAP), total > COUNT_CAP);
            Ok(Some(RunPage { runs, total_count, capped, next_cursor }))
        })
    }

    /// The number of matching runs, at most [`COUNT_CAP`] + 1.
    fn count(&self, connection: &Connection) -> Result<u64, Fault> {
        let max = COUNT_CAP + 1;
        let codes = self.statuses.iter().map(|status| reported_code(*status));
        if let [] | [_] = self.filters.as_slice() {
            let index = Index { app: self.app, filter: self.filters.first(), time: Time::Created };
            if self.statuses.len() == ReportedStatus::ALL.len() {
                return index.count(connection, None, max);
            }
            let mut total = 0;
            for code in codes {
                total += index.count(connection, Some(code), max - total)?;
            }
            return Ok(total);
        }
        let mut total = 0;
        for code in codes {
            let mut range = self.range(code, Time::Created, true, None);
            while total < max && range.next(connection)?.is_some() {
                total += 1;
            }
        }
        Ok(total)
    }

    /// The matching runs of one status.
    fn range(&self, status: i64, time: Time, descending: bool, after: Option<Row>) -> Range {
        let index = |filter| Index { app: self.app, filter, time };
        let indexes: Vec<_> = match self.filters.as_slice() {
            [] => vec![index(None)],
            filters => filters.iter().map(|filter| index(Some(filter))).collect(),
        };
        Range::new(indexes, status, descending, after, self.page_size + 1)
    }

    /// The rows of the page, and whether more follow.
    fn rows(&self, connection: &Connection) -> Result<(Vec<Cursor>, bool), Fault> {
        let (mut skip, first_part, mut after) = match self.start {
            Start::Offset(offset) => (offset, 0, None),
            Start::After(cursor) => (0, cursor.part, Some((cursor.time, cursor.run))),
        };
        let mut page = Vec::with_capacity(self.page_size);
        for (number, part) in (0_u8..).zip(&self.parts).skip(usize::from(first_part)) {
            let mut merge = Merge::new(self, part, after.take());
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

/// The parts of the requested order; `None` if no index supports it.
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
        "supported orders are started_at and status, each alone or as \"status,started_at\", with any filters; and \
         ended_at alone, with no filter but status; each of them also descending"
            .to_owned(),
    )
}

/// The ranges of a part, merged by time and run.
struct Merge {
    ranges: Vec<(Option<Row>, Range)>,
    descending: bool,
    is_begun: bool,
}

impl Merge {
    fn new(plan: &Plan, part: &Part, after: Option<Row>) -> Self {
        let range = |status: &i64| (None, plan.range(*status, part.time, part.descending, after));
        Self {
            ranges: part.statuses.iter().map(range).collect(),
            descending: part.descending,
            is_begun: false,
        }
    }

    fn next(&mut self, connection: &Connection) -> Result<Option<Row>, Fault> {
        if !self.is_begun {
            for (head, range) in &mut self.ranges {
                *head = range.next(connection)?;
            }
            self.is_begun = true;
        }
        let heads = self.ranges.iter_mut().filter(|(head, _)| head.is_some());
        let first = if self.descending {
            heads.max_by_key(|(head, _)| *head)
        } else {
            heads.min_by_key(|(head, _)| *head)
        };
        let Some((head, range)) = first else { return Ok(None) };
        let next = range.next(connection)?;
        Ok(std::mem::replace(head, next))
    }
}
