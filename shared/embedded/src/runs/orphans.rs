//! The runs of dead processes.

use super::{row::run_id, statement};
use crate::database::Fault;
use runyard_runs::{RunId, Timestamp};
use rusqlite::{Connection, params};
use uuid::Uuid;

/// Returns the workers that hold runs. Reads only the index of unfinished runs, not the runs.
pub(crate) fn owning_workers(connection: &Connection) -> Result<Vec<Uuid>, Fault> {
    let mut statement = statement(
        connection,
        "SELECT DISTINCT worker FROM runs INDEXED BY runs_by_due WHERE due IS NOT NULL AND worker IS NOT NULL",
    )?;
    // Skip damaged rows: they must not keep the data directory from being opened.
    let workers = statement.query_map((), |row| row.get(0))?.filter_map(Result::ok).collect();
    Ok(workers)
}

/// Makes the runs of `worker` due `now`, those first that it was executing. Returns their number.
pub(crate) fn make_due(connection: &Connection, worker: Uuid, now: Timestamp) -> Result<usize, Fault> {
    let runs: Vec<RunId> =
        statement(connection, "SELECT id FROM runs INDEXED BY runs_by_due WHERE due > ?1 AND worker = ?2")?
            .query_map(params![now.0, worker], |row| run_id(row, 0))?
            .filter_map(Result::ok)
            .collect();
    for run in &runs {
        statement(connection, "UPDATE runs SET due = ?2 - (owner IS NOT NULL), rev = rev + 1 WHERE id = ?1")?
            .execute(params![run.0, now.0])?;
    }
    Ok(runs.len())
}
