//! `POST /v1/runs`: accept a run, and have it executed here or by a worker.

use super::{
    Live, RunService, Seat,
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
    /// Whether the caller has an access key.
    pub origin: Origin,
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
///
/// Who repeats a request is given its run. All who have no access key are one caller, so it is for who takes their keys to
/// see to it that they are secrets.
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
    pub(crate) execution: Option<JoinHandle<Result<Writer, StoreError>>>,
    pub(crate) live: Option<Arc<Live>>,
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
    /// The app has stored as much as it may.
    #[error(transparent)]
    QuotaExceeded(#[from] QuotaExceeded),
    /// The requests and runs of the process take as much memory as they may.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The process is about to end.
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

/// How far away a moment is for which a run is left that its caller waits for: to find it again takes more than to keep it.
const RESTS_FROM: Duration = Duration::from_mins(1);

/// How long a caller waits whose app executes as many runs as it may.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl RunService {
    /// Accepts a run. A sync or streamed run is being executed when this returns; dropping the future or what it
    /// gives changes nothing about that.
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
            // It takes its own when it is executed.
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

    /// Waits until nothing of the run can go on by itself (it has ended, or waits for a person), or for `at_most`,
    /// and gives the run as it stands.
    pub async fn settled(&self, created: Created, at_most: Duration) -> Result<Run, StoreError> {
        let give_up = tokio::time::Instant::now() + at_most;
        let mut run = created.run;
        if let Some(execution) = created.execution
            && let Ok(Ok(Ok(mut writer))) = tokio::time::timeout_at(give_up, execution).await
            && let Some(last) = writer.take_last()
        {
            run.update(&last);
        }
        // Where the executor stopped before the end, this goes on as a reader; where time ran out, it looks once more.
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

    /// Accepts a run in a task of its own: a caller that goes away in the middle must not leave an accepted run without
    /// executor.
    pub(super) async fn accept_in_task(
        &self,
        app: &Arc<App>,
        new: NewRun,
        claim: Option<ClaimId>,
        key: Option<Idempotency>,
        mode: Mode,
        slot: Option<super::Slot>,
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
        slot: Option<super::Slot>,
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
                let stored = stored.ok_or_else(|| StoreError::Unknown("the run is not there yet".into()))?;
                let run = self.run_of(stored).await?;
                return Ok(Created { run, replayed: true, execution: None, live: None });
            }
            CreateOutcome::Conflict(run) => return Err(Error::Conflict { run }),
            CreateOutcome::Unknown => {
                return Err(StoreError::Unknown("the run may not be stored".into()).into());
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
        let seat = Seat { slot, place: None, rests_from: RESTS_FROM };
        let execution = self.execute(app, Arc::new(new), writer, Arc::clone(&live), followed, seat);
        Ok(Created {
            run: created,
            replayed: false,
            execution: Some(execution),
            live: followed.then_some(live),
        })
    }

    /// Drives the creator; the run's id may turn out to be that of an earlier request.
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
