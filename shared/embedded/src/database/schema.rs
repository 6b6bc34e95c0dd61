//! The schema and settings of the database.

use crate::Error;
use rusqlite::{Connection, TransactionBehavior, config::DbConfig};
use std::{path::Path, time::Duration};

/// The schema version of this release, stored in `PRAGMA user_version`.
const VERSION: i64 = 3;

/// How long a write waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// `STEPS[n]` migrates a database from version n to n + 1.
const STEPS: [&str; 3] = [V1, V2, V3];

/// Opens a connection with the settings of this release.
pub(super) fn connect(path: &Path, cache_kib: u32) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Without it SQLite plans a statement again whenever the value of its LIMIT is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Log entries of about 1 KiB fit into a page of 8 KiB. With 4 KiB each would need an overflow page.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The writer thread decides when to checkpoint.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(connection)
}

/// Migrates the database at `path` to the schema of this release.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::NoWal(path.to_owned()));
    }
    if version(connection)? == VERSION {
        return Ok(());
    }
    // Another process may have migrated it: check again with the lock held.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let Some(steps) = usize::try_from(found).ok().and_then(|found| STEPS.get(found..)) else {
        return Err(Error::Newer { path: path.to_owned(), found, known: VERSION });
    };
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Ids are stored as their 16 bytes, times as milliseconds since 1970, statuses as the numbers of `runs::row`.
///
/// `reported` is in every index for lists, so that each filter can be combined with any statuses: a list over several
/// statuses merges one ordered range of the index per status. `log` holds the entries and, with `first` = 0, the
/// request as JSON. `garbage` lists deleted runs whose logs are still to be removed.
const V1: &str = "
CREATE TABLE runs (
    id BLOB NOT NULL PRIMARY KEY,
    app BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    status INTEGER NOT NULL,
    reported INTEGER NOT NULL,
    unanswered INTEGER NOT NULL,
    ended_at INTEGER,
    owner BLOB,
    worker BLOB,
    due INTEGER,
    attempts INTEGER NOT NULL,
    attempts_at INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    session_id BLOB,
    user_id TEXT,
    metadata TEXT
) WITHOUT ROWID;
CREATE INDEX runs_by_status ON runs (app, reported, created_at, id);
CREATE INDEX runs_by_user ON runs (app, user_id, reported, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX runs_by_session ON runs (app, session_id, reported, created_at, id) WHERE session_id IS NOT NULL;
CREATE INDEX runs_by_end ON runs (app, reported, ended_at, id) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_by_expiry ON runs (expires_at, id) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_by_due ON runs (due, id, worker) WHERE due IS NOT NULL;

CREATE TABLE metadata (
    app BLOB NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    reported INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    run BLOB NOT NULL,
    PRIMARY KEY (app, key, value, reported, created_at, run)
) WITHOUT ROWID;

CREATE TABLE log (
    run BLOB NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (run, first)
) WITHOUT ROWID;
CREATE TABLE garbage (run BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE idempotency (
    key BLOB NOT NULL PRIMARY KEY,
    run BLOB NOT NULL,
    request BLOB NOT NULL,
    bound_at INTEGER NOT NULL,
    valid_since INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_by_run ON idempotency (run);

CREATE TABLE files (
    app BLOB NOT NULL,
    id BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    mime_type TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (app, id)
) WITHOUT ROWID;
CREATE INDEX files_by_expiry ON files (expires_at);

CREATE TABLE app_versions (
    app BLOB NOT NULL,
    version TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (app, version)
) WITHOUT ROWID;

CREATE TABLE access_keys (
    id TEXT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL,
    organization BLOB NOT NULL,
    project BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) WITHOUT ROWID;
";

/// `scope` is a conversation as JSON, `turn` its messages as JSON.
const V2: &str = "
CREATE TABLE memories (
    scope TEXT NOT NULL,
    at INTEGER NOT NULL,
    id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    turn TEXT NOT NULL,
    PRIMARY KEY (scope, at, id)
) WITHOUT ROWID;
CREATE INDEX memories_by_expiry ON memories (expires_at);
";

/// `day` is the day on which the counted bytes expire, in days since 1970; 1024 is `RECORD_BYTES`. Existing data is
/// counted once, in a pass over the log that reads no entry (SQLite stores the length of a blob before its content).
const V3: &str = "
CREATE TABLE stored_bytes (
    app BLOB NOT NULL,
    day INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (app, day)
) WITHOUT ROWID;
INSERT INTO stored_bytes (app, day, bytes)
SELECT app, day, sum(bytes) FROM (
    SELECT app, expires_at / 86400000 AS day,
        1024 + (SELECT coalesce(sum(length(entry)), 0) FROM log WHERE run = id) AS bytes FROM runs
    UNION ALL
    SELECT app, expires_at / 86400000, 1024 + size FROM files WHERE deleted = 0
    UNION ALL
    SELECT unhex(scope ->> '$.app', '-'), expires_at / 86400000, 1024 + length(CAST(turn AS BLOB))
        FROM memories WHERE json_valid(scope)
) WHERE app IS NOT NULL GROUP BY app, day;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_synced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let mut connection = connect(&path, 1024).unwrap();
        prepare(&mut connection, &path).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((pragma("synchronous"), pragma("mmap_size"), pragma("user_version")), (2, 0, VERSION));
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
}
