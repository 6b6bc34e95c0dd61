//! The columns of a run's record and ids.

use crate::database::Fault;
use runyard_runs::{AppId, ClaimId, Record, ReportedStatus, RunId, RunStatus, Sequence, Timestamp};
use rusqlite::Row;
use uuid::Uuid;

/// The columns that [`Stored::read`] expects, in this order.
pub(super) const COLUMNS: &str = "app, created_at, expires_at, upto, status, unanswered, ended_at, owner, \
     worker, due, attempts, attempts_at, rev";

/// A row of `runs`, without the columns that only serve lists.
pub(super) struct Stored {
    pub(super) app: AppId,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) worker: Option<Uuid>,
    pub(super) record: Record,
}

impl Stored {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, Fault> {
        Self::parse(row).map_err(|fault| match fault {
            // A value does not have the column's type: the row is damaged, retrying does not help.
            Fault::Sqlite(
                error @ (rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)),
            ) => Fault::Content(format!("the row of a run: {error}")),
            fault => fault,
        })
    }

    fn parse(row: &Row<'_>) -> Result<Self, Fault> {
        Ok(Self {
            app: AppId(row.get(0)?),
            created_at: Timestamp(row.get(1)?),
            expires_at: Timestamp(row.get(2)?),
            worker: row.get(8)?,
            record: Record {
                upto: sequence(row.get(3)?),
                status: status_of(row.get(4)?)?,
                unanswered: row.get(5)?,
                ended_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
                owner: row.get::<_, Option<Uuid>>(7)?.map(ClaimId),
                due: row.get::<_, Option<i64>>(9)?.map(Timestamp),
                attempts: row.get(10)?,
                attempts_at: sequence(row.get(11)?),
                rev: sequence(row.get(12)?),
            },
        })
    }
}

pub(super) fn run_id(row: &Row<'_>, column: usize) -> Result<RunId, rusqlite::Error> {
    Ok(RunId(row.get(column)?))
}

pub(super) fn sequence(number: i64) -> Sequence {
    number.unsigned_abs()
}

const STATUSES: [RunStatus; 6] = [
    RunStatus::Created,
    RunStatus::Started,
    RunStatus::Paused,
    RunStatus::Completed,
    RunStatus::Failed,
    RunStatus::Canceled,
];

/// The number that stands for a status in the database. Must never change.
pub(super) fn status_code(status: RunStatus) -> i64 {
    match status {
        RunStatus::Created => 0,
        RunStatus::Started => 1,
        RunStatus::Paused => 2,
        RunStatus::Completed => 3,
        RunStatus::Failed => 4,
        RunStatus::Canceled => 5,
    }
}

fn status_of(code: i64) -> Result<RunStatus, Fault> {
    let status = usize::try_from(code).ok().and_then(|index| STATUSES.get(index));
    status.copied().ok_or_else(|| Fault::Content(format!("unknown run status {code}")))
}

/// The number that stands for a reported status in indexes: its index in [`ReportedStatus::ALL`]. Must never change.
pub(super) fn reported_code(status: ReportedStatus) -> i64 {
    match status {
        ReportedStatus::Created => 0,
        ReportedStatus::Started => 1,
        ReportedStatus::AwaitingInput => 2,
        ReportedStatus::Paused => 3,
        ReportedStatus::Completed => 4,
        ReportedStatus::Failed => 5,
        ReportedStatus::Canceled => 6,
    }
}

/// The number that stands for a record's reported status in indexes.
pub(super) fn reported(record: &Record) -> i64 {
    reported_code(record.status.reported(record.unanswered))
}
