use runyard_runs::StoreError;
use rusqlite::ErrorCode;

/// An error of work on the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("stored data cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("stored data cannot be read: {0}")]
    Content(String),
    #[error("the log was written by a later release (entry version {0}): use that release or a later one")]
    Version(u32),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let is_transient = matches!(
            &fault,
            Fault::Sqlite(rusqlite::Error::SqliteFailure(error, _))
                if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        );
        if is_transient { Self::Unknown(fault.into()) } else { Self::Failed(fault.into()) }
    }
}
