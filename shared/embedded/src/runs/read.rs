//! Reads of one run, and of the runs that are due.

use super::{
    int,
    row::{COLUMNS, Stored, run_id, sequence},
    statement,
};
use crate::database::Fault;
use runyard_runs::{
    AppId, ENTRY_VERSION, Entry, Head, LogRange, LogRead, NewRun, RunId, Sequence, StoredRun, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::LazyLock;

/// Reads a part of a run's log with its record, from one snapshot.
pub(super) fn log(connection: &Connection, run: RunId, range: LogRange) -> Result<Option<LogRead>, Fault> {
    snapshot(connection, || {
        let Some(Stored { app, record, .. }) = find(connection, run)? else {
            return Ok(None);
        };
        let (from, to) = (int(range.from.max(1)), int(range.to));
        let mut statement = statement(
            connection,
            "SELECT first, last, entry FROM log WHERE run = ?1 AND first >= \
                max(1, coalesce((SELECT first FROM log WHERE run = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1), 1)) \
                AND last >= ?2 AND first <= ?3 ORDER BY first",
        )?;
        let mut rows = statement.query(params![run.0, from, to])?;
        let mut read = LogRead { app, record, entries: Vec::new(), more: false };
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            if !read.entries.is_empty() && bytes >= range.bytes {
                read.more = true;
                break;
            }
            let content = row.get_ref(2)?.as_bytes().map_err(|error| Fault::Content(error.to_string()))?;
            bytes += content.len();
            read.entries.push(decode(run, row.get(0)?, content)?);
        }
        Ok(Some(read))
    })
}

pub(super) fn head(connection: &Connection, run: RunId) -> Result<Option<Head>, Fault> {
    snapshot(connection, || {
        let Some(Stored { app, expires_at, record, .. }) = find(connection, run)? else {
            return Ok(None);
        };
        Ok(Some(Head { app, expires_at, record, last: last(connection, run)? }))
    })
}

pub(super) fn get(connection: &Connection, run: RunId) -> Result<Option<StoredRun>, Fault> {
    snapshot(connection, || stored(connection, run))
}

/// [`get`] within a snapshot.
pub(super) fn stored(connection: &Connection, run: RunId) -> Result<Option<StoredRun>, Fault> {
    let Some(Stored { record, .. }) = find(connection, run)? else {
        return Ok(None);
    };
    let new: Option<NewRun> = statement(connection, "SELECT entry FROM log WHERE run = ?1 AND first = 0")?
        .query_row([run.0], |row| Ok(row.get_ref(0)?.as_bytes().map(serde_json::from_slice)))
        .optional()?
        .transpose()
        .map_err(|error| Fault::Content(error.to_string()))?
        .transpose()?;
    let new = new.ok_or_else(|| Fault::Content(format!("run {run} has no content")))?;
    Ok(Some(StoredRun { new, record, last: last(connection, run)? }))
}

/// Returns how many bytes [`stored`] would read.
pub(super) fn stored_bytes(connection: &Connection, run: RunId) -> Result<usize, Fault> {
    let bytes: i64 = statement(
        connection,
        "SELECT coalesce((SELECT length(entry) FROM log WHERE run = ?1 AND first = 0), 0) \
            + coalesce((SELECT length(entry) FROM log WHERE run = ?1 AND first > 0 ORDER BY first DESC LIMIT 1), 0)",
    )?
    .query_row([run.0], |row| row.get(0))?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// The last sequence of a run's log; 0 if there is none.
pub(super) fn last_sequence(connection: &Connection, run: RunId) -> Result<Sequence, Fault> {
    let last = statement(connection, "SELECT last FROM log WHERE run = ?1 ORDER BY first DESC LIMIT 1")?
        .query_row([run.0], |row| row.get(0))
        .optional()?;
    Ok(sequence(last.unwrap_or(0)))
}

pub(super) fn due(
    connection: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(AppId, RunId)>, Fault> {
    let mut statement = statement(
        connection,
        "SELECT app, id FROM runs INDEXED BY runs_by_due WHERE due <= ?1 ORDER BY due, id",
    )?;
    let mut rows = statement.query([now.0])?;
    let mut due = Vec::new();
    while due.len() < limit
        && let Some(row) = rows.next()?
    {
        match row.get(0).and_then(|app| Ok((AppId(app), run_id(row, 1)?))) {
            Ok(run) => due.push(run),
            // Without an id it cannot be postponed. It must not block the others.
            Err(error) => tracing::error!(%error, "a row of the table of runs has no valid id"),
        }
    }
    Ok(due)
}

/// Executes `work` on one snapshot of the database.
pub(super) fn snapshot<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    statement(connection, "BEGIN")?.execute(())?;
    let done = work();
    statement(connection, "COMMIT")?.execute(())?;
    done
}

fn find(connection: &Connection, run: RunId) -> Result<Option<Stored>, Fault> {
    static SQL: LazyLock<String> = LazyLock::new(|| format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"));
    let mut statement = statement(connection, &SQL)?;
    let mut rows = statement.query([run.0])?;
    rows.next()?.map(Stored::read).transpose()
}

fn last(connection: &Connection, run: RunId) -> Result<Option<Entry>, Fault> {
    let mut statement = statement(
        connection,
        "SELECT first, last, entry FROM log WHERE run = ?1 AND first > 0 ORDER BY first DESC LIMIT 1",
    )?;
    let mut rows = statement.query([run.0])?;
    let decode = |row: &Row<'_>| {
        let content = row.get_ref(2)?.as_bytes().map_err(|error| Fault::Content(error.to_string()))?;
        decode(run, row.get(0)?, content)
    };
    rows.next()?.map(decode).transpose()
}

fn decode(run: RunId, first: i64, content: &[u8]) -> Result<Entry, Fault> {
    let mut entry: Entry = match serde_json::from_slice(content) {
        Ok(entry) => entry,
        // An entry of a later release may have another form: report its version instead.
        Err(error) => {
            return Err(match serde_json::from_slice(content) {
                Ok(Version { v }) if v > ENTRY_VERSION => Fault::Version(v),
                _ => error.into(),
            });
        }
    };
    if entry.version > ENTRY_VERSION {
        return Err(Fault::Version(entry.version));
    }
    entry.run = run;
    entry.first = sequence(first);
    Ok(entry)
}

#[derive(serde::Deserialize)]
struct Version {
    v: u32,
}
