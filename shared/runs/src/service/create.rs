//! `POST /v1/runs`: accept a run, and have it executed here or by a worker.

use super::{App, Arc, RunService};
use crate::{FieldErrors, FileId, Run, RunId, StoreError};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateRun {
    /// The input, by field of the app's Input node.
    pub input: Map<String, Value>,
    /// The caller's own identifier of its user.
    pub user_id: Option<String>,
    /// The conversation that the run belongs to.
    pub session_id: Option<Uuid>,
    /// Up to 16 labels.
    pub metadata: BTreeMap<String, String>,
    /// Files of this app that the run may read.
    pub file_ids: Vec<FileId>,
    /// Who executes the run.
    pub mode: Mode,
    /// The caller's idempotency key.
    pub idempotency: Option<Idempotency>,
}

/// Who executes a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// This process, at once; the caller waits for the end.
    Sync,
    /// This process, at once; the caller follows the events.
    Stream,
    /// A worker.
    Background,
}

/// An idempotency key, in the scope of app and caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The `Idempotency-Key` header: 1 to 255 characters.
    pub key: String,
    /// Who calls: the public part of the access key; empty without one.
    pub caller: String,
    /// SHA-256 over the parsed request (of uploaded files: name, type, size and content).
    pub request: [u8; 32],
}

/// An accepted run: it is on disk.
pub struct Created {
    /// The run, as created; if replayed, as it stands.
    pub run: Run,
    /// Whether an earlier request with the same idempotency key had created it.
    pub replayed: bool,
    pub(crate) execution: Option<()>,
}

/// Why a run was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input does not fit the app, or a file is unknown: what is wrong, by field.
    #[error("the request is not valid")]
    Invalid(FieldErrors),
    /// The idempotency key was used for another request, for this run.
    #[error("the idempotency key was used for another request")]
    Conflict {
        /// The run of the other request.
        run: RunId,
    },
    /// The app executes as many runs as it may.
    #[error("the app executes as many runs as it may")]
    TooManyRuns {
        /// When to try again.
        retry_after: Duration,
    },
    /// The process is about to end.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunService {
    /// Accepts a run. A sync or streamed run is being executed when this returns; dropping the future or what it
    /// gives changes nothing about that.
    pub async fn create(&self, app: &Arc<App>, request: CreateRun) -> Result<Created, Error> {
        let _ = (app, request);
        todo!()
    }

    /// Waits until nothing of the run can go on by itself (it has ended, or waits for a person), or for `at_most`,
    /// and gives the run as it stands.
    pub async fn settled(&self, created: Created, at_most: Duration) -> Result<Run, StoreError> {
        let _ = (created, at_most);
        todo!()
    }
}
