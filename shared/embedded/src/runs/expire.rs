//! Removes expired data, in steps that are short enough for other writes to get in between.

use super::{int, row::run_id, statement, write};
use crate::{database::Fault, embedded::Shared, usage::remove_past};
use runyard_runs::{AppId, RunId, StoreError, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// Maximum number of runs that one step removes.
const RUNS_PER_STEP: usize = 32;

/// Maximum number of rows of logs, or of agents' memory, that one step removes.
const ROWS_PER_STEP: i64 = 256;

/// Removes ended runs that expired, then their logs, expired memory of agents, and the counters of past days. Returns
/// the number of runs.
pub(super) async fn delete_expired(home: &Shared, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
    let database = &home.database;
    let mut deleted = 0;
    while deleted < limit {
        let step = RUNS_PER_STEP.min(limit - deleted);
        let removed = database.write(move |connection| remove_runs(connection, now, step)).await?;
        deleted += removed;
        if removed < step {
            break;
        }
    }
    while database.write(remove_log_rows).await? {}
    while database.write(move |connection| remove_memories(connection, now)).await? {}
    let today = now.day();
    if home.counters.has_past(today) {
        database.write(move |connection| remove_past(connection, today)).await?;
        home.counters.forget_past(today);
    }
    Ok(deleted)
}

fn remove_runs(connection: &Connection, now: Timestamp, limit: usize) -> Result<usize, Fault> {
    let runs: Vec<(RunId, AppId, i64, i64)> = statement(
        connection,
        "SELECT id, app, reported, created_at FROM runs INDEXED BY runs_by_expiry \
         WHERE ended_at IS NOT NULL AND expires_at < ?1 ORDER BY expires_at LIMIT ?2",
    )?
    .query_map(params![now.0, int(limit as u64)], |row| {
        Ok((run_id(row, 0)?, AppId(row.get(1)?), row.get(2)?, row.get(3)?))
    })?
    .filter_map(|row| {
        row.inspect_err(|error| tracing::error!(%error, "an expired run's row has no valid id")).ok()
    })
    .collect();
    for (run, app, reported, created_at) in &runs {
        // Metadata that cannot be read leaves index rows without a run, which lists skip.
        let metadata = match write::metadata(connection, *run) {
            Ok(metadata) => metadata,
            Err(Fault::Json(error)) => {
                tracing::warn!(%run, %error, "an expired run's metadata cannot be read");
                BTreeMap::default()
            }
            Err(fault) => return Err(fault),
        };
        for (key, value) in metadata {
            statement(
                connection,
                "DELETE FROM metadata WHERE app = ?1 AND key = ?2 AND value = ?3 AND reported = ?4 \
                    AND created_at = ?5 AND run = ?6",
            )?
            .execute(params![app.0, key, value, reported, created_at, run.0])?;
        }
        statement(connection, "DELETE FROM idempotency WHERE run = ?1")?.execute([run.0])?;
        statement(connection, "DELETE FROM runs WHERE id = ?1")?.execute([run.0])?;
        statement(connection, "INSERT OR IGNORE INTO garbage (run) VALUES (?1)")?.execute([run.0])?;
    }
    Ok(runs.len())
}

/// Removes some log rows of deleted runs. Returns whether there may be more.
fn remove_log_rows(connection: &Connection) -> Result<bool, Fault> {
    let mut left = ROWS_PER_STEP;
    while left > 0 {
        let run: Option<RunId> = statement(connection, "SELECT run FROM garbage LIMIT 1")?
            .query_row((), |row| run_id(row, 0))
            .optional()?;
        let Some(run) = run else { return Ok(false) };
        let removed = statement(
            connection,
            "DELETE FROM log WHERE run = ?1 AND first IN (SELECT first FROM log WHERE run = ?1 ORDER BY first LIMIT ?2)",
        )?
        .execute(params![run.0, left])?;
        left -= int(removed as u64);
        if left > 0 {
            statement(connection, "DELETE FROM garbage WHERE run = ?1")?.execute([run.0])?;
        }
    }
    Ok(true)
}

/// Removes some expired memory of agents. Returns whether there may be more.
fn remove_memories(connection: &Connection, now: Timestamp) -> Result<bool, Fault> {
    let removed = statement(
        connection,
        "DELETE FROM memories WHERE (scope, at, id) IN (SELECT scope, at, id FROM memories \
         INDEXED BY memories_by_expiry WHERE expires_at <= ?1 LIMIT ?2)",
    )?
    .execute(params![now.0, ROWS_PER_STEP])?;
    Ok(int(removed as u64) == ROWS_PER_STEP)
}
