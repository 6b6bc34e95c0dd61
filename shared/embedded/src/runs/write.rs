//! Writes. Conditions are checked first, so that a write that fails has nothing to undo.

use super::{
    int,
    row::{COLUMNS, Stored, reported, status_code},
    statement,
};
use crate::{database::Fault, embedded::failed, usage::Tally};
use runyard_runs::{
    AppId, Append, Create, Entry, Field, Guard, IdempotencyItem, NewRun, Record, RecordChange, RunId,
    RunStatus, StoreError, Timestamp, Update,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use std::{collections::BTreeMap, sync::LazyLock};
use uuid::Uuid;

/// A run to be created.
pub(super) struct NewRow {
    id: RunId,
    app: AppId,
    created_at: Timestamp,
    expires_at: Timestamp,
    session_id: Option<Uuid>,
    user_id: Option<String>,
    metadata: BTreeMap<String, String>,
    metadata_json: Option<String>,
    content: Vec<u8>,
    worker: Option<Uuid>,
    record: Record,
}

impl NewRow {
    pub(super) fn of(run: &NewRun, record: &Record, worker: Uuid) -> Result<Self, StoreError> {
        let metadata_json = if run.metadata.is_empty() {
            None
        } else {
            Some(String::from_utf8_lossy(&json(&run.metadata)?).into_owned())
        };
        Ok(Self {
            id: run.id,
            app: run.app,
            created_at: run.created_at,
            expires_at: run.expires_at,
            session_id: run.session_id,
            user_id: run.user_id.clone(),
            metadata: run.metadata.clone(),
            metadata_json,
            content: json(run)?,
            worker: Some(worker),
            record: record.clone(),
        })
    }

    pub(super) fn insert(&self, connection: &Connection, tally: &mut Tally) -> Result<Create, Fault> {
        let reported = reported(&self.record);
        let inserted = statement(
            connection,
            "INSERT INTO runs (id, app, created_at, expires_at, upto, status, reported, unanswered, ended_at, \
                owner, worker, due, attempts, attempts_at, rev, session_id, user_id, metadata) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            self.id.0,
            self.app.0,
            self.created_at.0,
            self.expires_at.0,
            int(self.record.upto),
            status_code(self.record.status),
            reported,
            self.record.unanswered,
            self.record.ended_at.map(|time| time.0),
            self.record.owner.map(|claim| claim.0),
            self.worker,
            self.record.due.map(|time| time.0),
            self.record.attempts,
            int(self.record.attempts_at),
            int(self.record.rev),
            self.session_id,
            self.user_id,
            self.metadata_json,
        ])?;
        if inserted == 0 {
            return Ok(Create::Exists);
        }
        statement(connection, "INSERT INTO log (run, first, last, entry) VALUES (?1, 0, 0, ?2)")?
            .execute(params![self.id.0, self.content])?;
        tally.add_record(self.app, self.expires_at, self.content.len() as u64);
        for (key, value) in &self.metadata {
            statement(
                connection,
                "INSERT INTO metadata (app, key, value, reported, created_at, run) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![self.app.0, key, value, reported, self.created_at.0, self.id.0])?;
        }
        Ok(Create::Done)
    }
}

/// An entry to be appended.
pub(super) struct EntryRow {
    run: RunId,
    first: i64,
    last: i64,
    content: Vec<u8>,
}

impl EntryRow {
    pub(super) fn of(entry: &Entry) -> Result<Self, StoreError> {
        Ok(Self { run: entry.run, first: int(entry.first), last: int(entry.last()), content: json(entry)? })
    }

    pub(super) fn append(&self, connection: &Connection, tally: &mut Tally) -> Result<Append, Fault> {
        let run = statement(connection, "SELECT app, expires_at FROM runs WHERE id = ?1")?
            .query_row([self.run.0], |row| Ok((AppId(row.get(0)?), Timestamp(row.get(1)?))))
            .optional()?;
        let Some((app, expires_at)) = run else { return Ok(Append::Refused) };
        self.insert(connection, tally, app, expires_at)
    }

    pub(super) fn commit(
        &self,
        connection: &Connection,
        tally: &mut Tally,
        change: &RecordChange,
        guard: &Guard,
        worker: Uuid,
    ) -> Result<Append, Fault> {
        let Some(stored) = find(connection, self.run)?.filter(|stored| guard.holds(&stored.record)) else {
            return Ok(Append::Refused);
        };
        let append = self.insert(connection, tally, stored.app, stored.expires_at)?;
        if append == Append::Done {
            apply(connection, self.run, &stored, change, worker)?;
        }
        Ok(append)
    }

    fn insert(
        &self,
        connection: &Connection,
        tally: &mut Tally,
        app: AppId,
        expires_at: Timestamp,
    ) -> Result<Append, Fault> {
        let inserted = statement(
            connection,
            "INSERT INTO log (run, first, last, entry) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![self.run.0, self.first, self.last, self.content])?;
        if inserted == 0 {
            return Ok(Append::Taken);
        }
        tally.add(app, expires_at, self.content.len());
        Ok(Append::Done)
    }
}

pub(super) fn update(
    connection: &Connection,
    run: RunId,
    change: &RecordChange,
    guard: &Guard,
    worker: Uuid,
) -> Result<Update, Fault> {
    let Some(stored) = find(connection, run)?.filter(|stored| guard.holds(&stored.record)) else {
        return Ok(Update::Refused);
    };
    apply(connection, run, &stored, change, worker)?;
    Ok(Update::Done)
}

/// Uses only the column `due`, so that it works on a row that is damaged otherwise.
pub(super) fn postpone(
    connection: &Connection,
    run: RunId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Update, Fault> {
    let updated = statement(connection, "UPDATE runs SET due = ?3 WHERE id = ?1 AND due <= ?2")?
        .execute(params![run.0, now.0, until.0])?;
    Ok(if updated == 0 { Update::Refused } else { Update::Done })
}

pub(super) fn bind(connection: &Connection, item: &IdempotencyItem) -> Result<IdempotencyItem, Fault> {
    let bound = statement(
        connection,
        "SELECT run, request, bound_at, valid_since FROM idempotency WHERE key = ?1 AND bound_at >= ?2",
    )?
    .query_row(params![item.key, item.valid_since.0], |row| {
        Ok(IdempotencyItem {
            key: item.key,
            run: RunId(row.get(0)?),
            request: row.get(1)?,
            bound_at: Timestamp(row.get(2)?),
            valid_since: Timestamp(row.get(3)?),
        })
    })
    .optional()?;
    if let Some(bound) = bound {
        return Ok(bound);
    }
    statement(
        connection,
        "INSERT OR REPLACE INTO idempotency (key, run, request, bound_at, valid_since) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![item.key, item.run.0, item.request, item.bound_at.0, item.valid_since.0])?;
    Ok(item.clone())
}

fn find(connection: &Connection, run: RunId) -> Result<Option<Stored>, Fault> {
    static SQL: LazyLock<String> = LazyLock::new(|| format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"));
    let mut statement = statement(connection, &SQL)?;
    let mut rows = statement.query([run.0])?;
    rows.next()?.map(Stored::read).transpose()
}

/// Writes the record as `change` makes it.
fn apply(
    connection: &Connection,
    run: RunId,
    stored: &Stored,
    change: &RecordChange,
    worker: Uuid,
) -> Result<(), Fault> {
    let before = &stored.record;
    let mut after = before.clone();
    change.apply(&mut after);
    // A worker that gives up a lease has the run in its queue, which is lost with the process: it still owns the run. A
    // run that waits for a person, or has ended, has no owning process.
    let owning = match change.owner {
        Field::Keep => stored.worker,
        _ if after.due.is_none() || (after.owner.is_none() && after.status == RunStatus::Paused) => None,
        Field::Set(_) | Field::Clear => Some(worker),
    };
    let (reported_before, reported_after) = (reported(before), reported(&after));
    let status_changed = reported_before != reported_after;
    let due_changed = before.due != after.due || stored.worker != owning;
    let end_changed = before.ended_at != after.ended_at;
    statement(connection, update_sql(status_changed, due_changed, end_changed))?.execute(params![
        run.0,
        reported_after,
        after.due.map(|time| time.0),
        owning,
        after.ended_at.map(|time| time.0),
        int(after.upto),
        status_code(after.status),
        after.unanswered,
        after.owner.map(|claim| claim.0),
        after.attempts,
        int(after.attempts_at),
        int(after.rev),
    ])?;
    if status_changed {
        move_metadata(connection, run, stored, reported_before, reported_after)?;
    }
    Ok(())
}

/// The update with exactly those indexed columns that change: SQLite rewrites the indexes of every column that an
/// update names.
fn update_sql(status_changed: bool, due_changed: bool, end_changed: bool) -> &'static str {
    static ALL: LazyLock<[String; 8]> = LazyLock::new(|| {
        std::array::from_fn(|bits| {
            let mut sql =
                "UPDATE runs SET upto = ?6, status = ?7, unanswered = ?8, owner = ?9, attempts = ?10, \
                 attempts_at = ?11, rev = ?12"
                    .to_owned();
            let indexed = ["reported = ?2", "due = ?3, worker = ?4", "ended_at = ?5"];
            for (bit, columns) in indexed.into_iter().enumerate() {
                if bits & (1 << bit) != 0 {
                    sql += ", ";
                    sql += columns;
                }
            }
            sql + " WHERE id = ?1"
        })
    });
    &ALL[usize::from(status_changed) | usize::from(due_changed) << 1 | usize::from(end_changed) << 2]
}

fn move_metadata(
    connection: &Connection,
    run: RunId,
    stored: &Stored,
    before: i64,
    after: i64,
) -> Result<(), Fault> {
    for (key, value) in metadata(connection, run)? {
        statement(
            connection,
            "UPDATE metadata SET reported = ?7 \
             WHERE app = ?1 AND key = ?2 AND value = ?3 AND reported = ?4 AND created_at = ?5 AND run = ?6",
        )?
        .execute(params![stored.app.0, key, value, before, stored.created_at.0, run.0, after])?;
    }
    Ok(())
}

/// Reads a run's metadata.
pub(super) fn metadata(connection: &Connection, run: RunId) -> Result<BTreeMap<String, String>, Fault> {
    let json: Option<Option<String>> = statement(connection, "SELECT metadata FROM runs WHERE id = ?1")?
        .query_row([run.0], |row| row.get(0))
        .optional()?;
    Ok(match json.flatten() {
        Some(json) => serde_json::from_str(&json)?,
        None => BTreeMap::new(),
    })
}

/// Maximum nesting of JSON that can be read again: `serde_json` refuses 128 levels.
const MAX_NESTING: usize = 127;

/// Serializes a value; fails if it could not be parsed again: such a run would be stored and never be readable.
fn json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let json = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    if depth(&json) > MAX_NESTING {
        return Err(StoreError::Failed(format!("values nest deeper than {MAX_NESTING} levels").into()));
    }
    Ok(json)
}

/// The nesting of valid JSON, in levels.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text) = (0_usize, 0, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_text => {
                bytes.next();
            }
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth -= 1,
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json as value};

    #[test]
    fn what_is_written_can_be_read() {
        let nested = |levels: usize| (0..levels).fold(value!("[\"{{\\"), |inner, _| value!([inner]));
        let readable = json(&nested(MAX_NESTING)).unwrap();
        assert!(serde_json::from_slice::<Value>(&readable).is_ok());
        assert!(json(&nested(MAX_NESTING + 1)).is_err());
        let unreadable = serde_json::to_vec(&nested(MAX_NESTING + 1)).unwrap();
        assert!(
            serde_json::from_slice::<Value>(&unreadable).is_err(),
            "serde_json has no limit any more: remove MAX_NESTING"
        );
    }
}
