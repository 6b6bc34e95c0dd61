//! `POST /v1/runs`: accept a run, and execute it here or enqueue it for a worker.

use super::{
    ExecutionPlace, Live, RunService,
    drive::Target,
    quota::{self, QuotaExceeded},
};
use crate::{
    App, ClaimId, FieldErrors, File, FileId, IdempotencyItem, NewRun, Origin, OutOfMemory, Run, RunId,
    RunStatus, StoreError, Usage,
    protocol::{CreateOutcome, Creator, Writer},
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tracing::Instrument;
use uuid::Uuid;

/// A request to create a run.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateRun {
    /// The input, by field of the app's Input node.
    pub input: Map<String, Value>,
    /// The caller's own identifier of its user.
    pub user_id: Option<String>,
    /// The session (conversation) that the run belongs to.
    pub session_id: Option<Uuid>,
    /// Metadata of the caller: up to 16 names and values.
    pub metadata: BTreeMap<String, String>,
    /// Files of this app that the run may read.
    pub file_ids: Vec<FileId>,
    /// Whether this process or a worker executes the run.
    pub mode: Mode,
    /// The caller's idempotency key.
    pub idempotency: Option<Idempotency>,
    /// Whether the caller has an access key.
    pub origin: Origin,
}

/// Where a run is executed, and what its caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// This process executes it at once; the caller waits for the end.
    Sync,
    /// This process executes it at once; the caller follows the events.
    Stream,
    /// A worker executes it; the caller does not wait.
    Background,
}

/// An idempotency key, in the scope of app and caller.
///
/// A repeated request gets the run of the first one. All callers without an access key count as one caller, so code
/// that accepts idempotency keys from them must make sure that the keys are secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The `Idempotency-Key` header: 1 to 255 characters.
    pub key: String,
    /// The caller: the public part of the access key; empty without one.
    pub caller: String,
    /// SHA-256 over the parsed request (of uploaded files: name, type, size and content).
    pub request: [u8; 32],
}

/// An accepted run: it is on disk.
pub struct Created {
    /// The run as created; if replayed, in its current state.
    pub run: Run,
    /// Whether an earlier request with the same idempotency key had created it.
    pub replayed: bool,
    pub(crate) execution: Option<JoinHandle<Result<Writer, StoreError>>>,
    pub(crate) live: Option<Arc<Live>>,
}

/// Why a run was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input does not match the app's schema, or a file is unknown: the errors, by field.
    #[error("the request is not valid")]
    Invalid(FieldErrors),
    /// The idempotency key was used for another request, for this run.
    #[error("the idempotency key was used for another request")]
    Conflict {
        /// The run of the other request.
        run: RunId,
    },
    /// The app has reached its `limits.concurrent_runs` in this process.
    #[error("concurrent run limit reached")]
    TooManyRuns {
        /// When to try again.
        retry_after: Duration,
    },
    /// The app has reached its storage quota.
    #[error(transparent)]
    QuotaExceeded(#[from] QuotaExceeded),
    /// The run does not fit into the process's memory budget.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The process is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<quota::Error> for Error {
    fn from(error: quota::Error) -> Self {
        match error {
            quota::Error::Exceeded(exceeded) => exceeded.into(),
            quota::Error::Store(error) => error.into(),
        }
    }
}

/// How long an idempotency key is kept.
const KEY_LIFETIME: Duration = Duration::from_hours(24);

/// Minimum duration of a rest of a run whose caller waits for it: for less, claiming it again costs more than keeping
/// it.
const MIN_REST: Duration = Duration::from_mins(1);

/// When a caller should try again after the app's limit of concurrent runs was reached.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl RunService {
    /// Accepts a run. A sync or streamed run is already being executed when this returns; it goes on even if this
    /// future or its result is dropped.
    ///
    /// Costs one write, two with an idempotency key; a background run also one message.
    pub async fn create(&self, app: &Arc<App>, request: CreateRun) -> Result<Created, Error> {
        if self.is_shutting_down() {
            return Err(Error::ShuttingDown);
        }
        self.left_to_store(app).await?;
        let files = self.files(app, &request.file_ids).await?;
        self.ports.engine.check_input(app, &request.input, &files).await.map_err(Error::Invalid)?;
        let memory = self.take_memory(app, &request.input)?;
        let (slot, _until_accepted) = match request.mode {
            // The worker takes memory when it executes the run.
            Mode::Background => (None, Some(memory)),
            Mode::Sync | Mode::Stream => {
                let slot = self.slots.take(app, memory);
                (Some(slot.ok_or(Error::TooManyRuns { retry_after: RETRY_AFTER })?), None)
            }
        };
        let claim = slot.as_ref().map(|_| self.new_claim());
        let new = self.new_run(app, Arc::new(request.input), files, |new| {
            new.user_id = request.user_id;
            new.session_id = request.session_id;
            new.metadata = request.metadata;
            new.origin = request.origin;
        });
        self.accept_in_task(app, new, claim, request.idempotency, request.mode, slot).await
    }

    /// Waits until the run cannot continue by itself (it has ended, or waits for a person), or for `at_most`. Returns
    /// its current state.
    pub async fn settled(&self, created: Created, at_most: Duration) -> Result<Run, StoreError> {
        let give_up = tokio::time::Instant::now() + at_most;
        let mut run = created.run;
        if let Some(execution) = created.execution
            && let Ok(Ok(Ok(mut writer))) = tokio::time::timeout_at(give_up, execution).await
            && let Some(last) = writer.take_last()
        {
            run.update(&last);
        }
        // If the execution here stopped before the end, continue as a reader of the log; after a timeout, read once
        // more.
        while !run.is_settled() {
            let Some(stored) = self.ports.runs.get(run.new.id).await? else { return Ok(run) };
            let seen = stored.last.as_ref().map_or(0, crate::Entry::last);
            run = self.run_of(stored).await?;
            let left = give_up.saturating_duration_since(tokio::time::Instant::now());
            if run.is_settled() || left.is_zero() {
                break;
            }
            self.ports.runs.changed(run.new.id, seen, left.min(Duration::from_secs(1))).await;
        }
        Ok(run)
    }

    async fn files(&self, app: &App, ids: &[FileId]) -> Result<Vec<File>, Error> {
        let mut files = Vec::with_capacity(ids.len());
        let mut unknown = FieldErrors::new();
        for (index, id) in ids.iter().enumerate() {
            match self.ports.files.get(app.id, *id).await? {
                Some(file) => files.push(file),
                None => {
                    unknown.insert(format!("file_ids.{index}"), format!("no file {id} in this app"));
                }
            }
        }
        if unknown.is_empty() { Ok(files) } else { Err(Error::Invalid(unknown)) }
    }

    pub(super) fn new_run(
        &self,
        app: &App,
        input: Arc<Map<String, Value>>,
        files: Vec<File>,
        fill: impl FnOnce(&mut NewRun),
    ) -> NewRun {
        let now = self.ports.clock.now();
        let mut new = NewRun {
            id: RunId(self.ports.ids.ordered()),
            app: app.id,
            app_version: app.version.clone(),
            created_at: now,
            expires_at: now + app.lifetime(),
            input,
            user_id: None,
            session_id: None,
            metadata: BTreeMap::new(),
            files,
            retry_of: None,
            origin: Origin::Key,
        };
        fill(&mut new);
        new
    }

    /// Accepts a run in a separate task: a caller that disconnects must not leave an accepted run without an executor.
    pub(super) async fn accept_in_task(
        &self,
        app: &Arc<App>,
        new: NewRun,
        claim: Option<ClaimId>,
        key: Option<Idempotency>,
        mode: Mode,
        slot: Option<super::RunPermit>,
    ) -> Result<Created, Error> {
        let (service, app) = (self.clone(), Arc::clone(app));
        let accepting = async move { service.accept(&app, new, claim, key, mode, slot).await };
        match self.executions.spawn(accepting.in_current_span()).await {
            Ok(result) => result,
            Err(error) => Err(Error::Store(StoreError::Failed(error.into()))),
        }
    }

    async fn accept(
        &self,
        app: &Arc<App>,
        mut new: NewRun,
        claim: Option<ClaimId>,
        key: Option<Idempotency>,
        mode: Mode,
        slot: Option<super::RunPermit>,
    ) -> Result<Created, Error> {
        let now = new.created_at;
        let item = key.map(|key| IdempotencyItem {
            key: scoped(app, &key),
            run: new.id,
            request: key.request,
            bound_at: now,
            valid_since: now - KEY_LIFETIME,
        });
        let mut creator = Creator::new(new.id, claim, item);
        let outcome = self.create_with(&mut creator, &mut new).await?;
        let run = match outcome {
            CreateOutcome::Created(run) => run,
            CreateOutcome::Replayed(run) => {
                let stored = self.ports.runs.get(run).await?;
                let stored =
                    stored.ok_or_else(|| StoreError::Unknown("the run is not created yet".into()))?;
                let run = self.run_of(stored).await?;
                return Ok(Created { run, replayed: true, execution: None, live: None });
            }
            CreateOutcome::Conflict(run) => return Err(Error::Conflict { run }),
            CreateOutcome::Unknown => {
                return Err(StoreError::Unknown("the run may or may not be stored".into()).into());
            }
        };
        let created = Run::created(new.clone());
        let (Some(claim), Some(slot)) = (claim, slot) else {
            return Ok(Created { run: created, replayed: false, execution: None, live: None });
        };
        let live = Arc::new(Live::default());
        let followed = mode == Mode::Stream;
        let writer = Writer::fresh(run, claim, new.expires_at);
        if followed {
            live.expect_follower();
        }
        let seat = ExecutionPlace { slot, place: None, rests_from: MIN_REST };
        let execution = self.execute(app, Arc::new(new), writer, Arc::clone(&live), followed, seat);
        Ok(Created {
            run: created,
            replayed: false,
            execution: Some(execution),
            live: followed.then_some(live),
        })
    }

    /// Drives the creator. The run's id may change to that of an earlier request with the same key.
    async fn create_with(
        &self,
        creator: &mut Creator,
        new: &mut NewRun,
    ) -> Result<CreateOutcome, StoreError> {
        use crate::protocol::{Machine, Next};
        let mut patience = super::drive::Patience::default();
        loop {
            new.id = creator.run();
            let op = match creator.next(self.ports.clock.now()) {
                Next::Done(outcome) => return Ok(outcome),
                Next::Do(op) => op,
            };
            let target = Target { app: new.app, run: new.id, new: Some(new) };
            let reply = patience.judge(self.ports.perform(target, &op).await).await?;
            creator.reply(op, reply, self.ports.clock.now());
        }
    }
}

fn scoped(app: &App, key: &Idempotency) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(app.id.0.as_bytes());
    hash.update(key.caller.as_bytes());
    hash.update([0]);
    hash.update(key.key.as_bytes());
    hash.finalize().into()
}

impl Run {
    /// A run that was just created.
    pub(crate) fn created(new: NewRun) -> Self {
        Self {
            new,
            status: RunStatus::Created,
            ended_at: None,
            output: None,
            error: None,
            usage: Usage::default(),
            input_requests: Vec::new(),
        }
    }
}
