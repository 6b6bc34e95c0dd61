use runyard_runs::StoreError;
use rusqlite::ErrorCode;

/// Why work on the database was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("what is stored cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("what is stored cannot be read: {0}")]
    Content(String),
    #[error("the log was written by a later release (entry version {0}): run that one or a later one")]
    Version(u32),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let passes = matches!(
            &fault,
            Fault::Sqlite(rusqlite::Error::SqliteFailure(error, _))
                if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        );
        if passes { Self::Unknown(fault.into()) } else { Self::Failed(fault.into()) }
    }
}
