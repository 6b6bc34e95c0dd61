//! The port to the engine, and the context of a run that the engine gets.

pub(crate) use crate::room::Room;
use crate::{
    App, BoxError, Clock, EventBody, File, FileId, FileStore, InputRequest, Logged, ModelUsage, NewRun,
    OutOfMemory, RequestId, RunError, StoreError, Timestamp, Usage,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// Executes workflows.
///
/// Deterministic except for what it gets from a [`RunContext`]: executed again on the same journal, it requests the
/// same steps under the same keys. Compiled workflows are cached by `(app.id, app.version)`.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Checks an app before it is served. Fails with all errors if its workflow does not load. Returns warnings about
    /// parts of the file that have no effect; an app with warnings is served.
    async fn check_app(&self, app: &App) -> Result<Vec<Warning>, BoxError>;

    /// Returns the same warnings, also for an app whose workflow does not load: then those found so far.
    async fn warnings(&self, app: &App) -> Vec<Warning> {
        self.check_app(app).await.unwrap_or_default()
    }

    /// Checks `input` against the schema of the app's Input node. The run's files are its field `files`, unless the
    /// input has such a field. The error maps a field to its problem; the field `input` stands for the whole input.
    async fn check_input(
        &self,
        app: &App,
        input: &Map<String, Value>,
        files: &[File],
    ) -> Result<(), FieldErrors>;

    /// Checks a person's changes to the params of a question against its [`schema`](InputRequest::schema). The error
    /// maps a field, `params.NAME`, to its problem.
    fn check_params(&self, _asked: &InputRequest, _changed: &Map<String, Value>) -> Result<(), FieldErrors> {
        Ok(())
    }

    /// Executes the run from its start; steps that are in its journal are not done again.
    ///
    /// A failure is recorded with `handled: true` in its journal if other nodes continue from it. A run that retries
    /// this one keeps such a failure. It keeps neither other failures nor the entries under the keys that the failure's
    /// journal lists as `void`.
    ///
    /// May be dropped at any await: the run is then canceled, or continues elsewhere from what was recorded.
    async fn execute(&self, app: &App, run: RunContext) -> Outcome;
}

/// Something in an app's workflow file that its author probably did not mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What has no effect, and what was probably meant.
    pub message: String,
}

/// The same format as errors: `file:line:column: message`.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// The errors of a request, by field.
pub type FieldErrors = BTreeMap<String, String>;

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With the run's output.
    Completed(Arc<Value>),
    /// With an error.
    Failed(RunError),
    /// The run cannot continue without an answer to one of its input requests.
    Suspended,
    /// The run cannot continue before this time, unless one of its input requests is answered. Only for a run that
    /// [may rest](RunContext::rests_from): its execution ends, and it is executed again at that time.
    Resting(Timestamp),
}

/// A run as the engine sees it. Cheap to clone.
#[derive(Clone)]
pub struct RunContext {
    shared: Arc<Shared>,
    /// Minimum duration of a rest; `None` if the run may not rest.
    rests_from: Option<Duration>,
}

/// What was recorded under a step key.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The event that it was recorded with.
    pub body: EventBody,
    /// The journal; null if the event has none.
    pub journal: Value,
}

/// A person's answer, as it is in the journal of `input.received`.
pub type Answer = Value;

/// The state of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A person answered.
    Answered(Answer),
    /// It expired without an answer.
    Expired,
    /// It is open; the caller suspends.
    Pending,
}

/// [`RunContext::outside`] or [`RunContext::step`] failed because the execution is about to be dropped. Return, or wait
/// to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run is no longer executed here")]
pub struct Stopped;

impl RunContext {
    /// Returns a context without a log, for the engine alone: calls outside are granted at once, and `sink` gets what
    /// would be written. Starts from `journal`, which may be empty. The run does not rest: its execution waits instead.
    pub fn detached(
        new: NewRun,
        files: Arc<dyn FileStore>,
        clock: Arc<dyn Clock>,
        journal: &[Logged],
        sink: impl Fn(Logged) + Send + Sync + 'static,
    ) -> Self {
        let mut shared = Shared::empty(
            Arc::new(new),
            files,
            clock,
            Usage::default(),
            Progress { events: u64::MAX, claimed: true, stopped: false },
        );
        shared.sink = Some(Box::new(sink));
        shared.absorb(journal);
        Self { shared: Arc::new(shared), rests_from: None }
    }

    /// Returns the same context for an executor that executes the run again at the time of an [`Outcome::Resting`], if
    /// that is at least this far away.
    pub fn resting(self, from: Duration) -> Self {
        Self { rests_from: Some(from), ..self }
    }

    /// Minimum duration until the time of an [`Outcome::Resting`]; `None` if the run may not rest.
    pub fn rests_from(&self) -> Option<Duration> {
        self.rests_from
    }

    /// The request that created the run.
    pub fn new_run(&self) -> &NewRun {
        &self.shared.new
    }

    /// Shows an event to followers of the run. It is written to the log first, at most 100 ms later, and then shown.
    ///
    /// For events that a replay does not repeat, such as a piece of an LLM's text.
    pub fn emit(&self, body: EventBody) {
        self.shared.push(body.into());
    }

    /// Records a step that is done, under a key that is unique in the run, with what a replay needs to know about it.
    /// Does nothing if the key is already recorded. It is written at most 100 ms later, and before the next call
    /// outside.
    pub fn record(&self, key: &str, body: EventBody, journal: Option<Value>) {
        let mut state = self.shared.lock();
        if !state.recorded.contains_key(key) && state.keys.insert(key.to_owned()) {
            drop(state);
            self.shared.push(Logged { body, key: Some(key.to_owned()), journal });
        }
    }

    /// Returns what an earlier execution recorded under this key.
    pub fn recorded(&self, key: &str) -> Option<Recorded> {
        self.shared.lock().recorded.get(key).cloned()
    }

    /// Returns when the run may call outside (an LLM, a tool): when the claim and everything recorded so far are in the
    /// log. Call it before each such call, and again before each retry.
    pub async fn outside(&self) -> Result<(), Stopped> {
        let mut written = self.shared.written.subscribe();
        let target = {
            let mut state = self.shared.lock();
            state.flush = true;
            state.pushed
        };
        self.shared.wake.notify_one();
        match written
            .wait_for(|progress| progress.stopped || (progress.claimed && progress.events >= target))
            .await
        {
            Ok(progress) if !progress.stopped => Ok(()),
            _ => Err(Stopped),
        }
    }

    /// Does something outside once: returns the journaled result if there is one, else runs `work` after
    /// [`RunContext::outside`] and journals its result under `key`, with a `run.checkpoint`.
    pub async fn step<F>(&self, key: &str, work: F) -> Result<Value, Stopped>
    where
        F: Future<Output = Value> + Send,
    {
        if let Some(recorded) = self.recorded(key) {
            return Ok(recorded.journal);
        }
        self.outside().await?;
        let result = work.await;
        self.record(key, EventBody::RunCheckpoint, Some(result.clone()));
        Ok(result)
    }

    /// Asks a person. Returns the answer or expiry if it is in the log; else records the request once, and the caller
    /// suspends: when no other work is left, [`Engine::execute`] returns [`Outcome::Suspended`].
    ///
    /// `body` makes the event of the question. The request's id is derived from the run and the key (UUID version 5),
    /// so a replay asks the same question. A question that was taken over from a retried run keeps its id.
    pub fn ask(
        &self,
        key: &str,
        request: InputRequest,
        body: impl FnOnce(InputRequest) -> EventBody,
    ) -> Asked {
        self.ask_with(key, request, Value::Null, body)
    }

    /// [`RunContext::ask`], with what a replay needs to know about the question.
    pub fn ask_with(
        &self,
        key: &str,
        mut request: InputRequest,
        journal: Value,
        body: impl FnOnce(InputRequest) -> EventBody,
    ) -> Asked {
        let asked = self.asked(key);
        if asked == Asked::Pending {
            request.id = self.request_id(key);
            self.record(key, body(request), Some(journal));
        }
        asked
    }

    /// Returns the state of the question under this key; [`Asked::Pending`] if it was not asked.
    pub fn asked(&self, key: &str) -> Asked {
        match self.recorded(&answer_key(self.request_id(key))) {
            Some(Recorded { body: EventBody::InputExpired { .. }, .. }) => Asked::Expired,
            Some(answer) => Asked::Answered(answer.journal),
            None => Asked::Pending,
        }
    }

    fn request_id(&self, key: &str) -> RequestId {
        let recorded = self.recorded(key);
        let before = recorded.as_ref().and_then(|asked| asked.body.request()).map(|request| request.id);
        before.unwrap_or_else(|| RequestId(uuid::Uuid::new_v5(&self.shared.new.id.0, key.as_bytes())))
    }

    /// The current time. A replay gets a different one: record decisions that depend on it.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Returns the metadata of one of the run's files.
    pub fn file(&self, id: FileId) -> Option<&File> {
        self.shared.new.files.iter().find(|file| file.id == id)
    }

    /// Opens the content of one of the run's files.
    pub async fn open(
        &self,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        if self.file(id).is_none() {
            return Ok(None);
        }
        self.shared.files.open(self.shared.new.app, id).await
    }

    /// Whether the execution is about to be dropped, so that nothing more should be spent.
    pub fn canceled(&self) -> bool {
        self.shared.written.borrow().stopped
    }

    /// Takes `bytes` of the process's memory budget for data that the run holds until its end. On error, it must not
    /// hold them.
    pub fn take_memory(&self, bytes: usize) -> Result<(), OutOfMemory> {
        self.shared.room.take(bytes)
    }

    /// Adds one LLM call to the run's usage; call it together with recording its answer.
    pub fn used(&self, model: &str, usage: &ModelUsage) {
        self.shared.lock().usage.add(model, usage);
    }

    /// What the run has used so far.
    pub fn usage(&self) -> Usage {
        self.shared.lock().usage.clone()
    }

    /// Reserves the maximum that a call may use. Drop the reservation once the call has failed, or its usage was added
    /// with [`RunContext::used`].
    ///
    /// `check` gets what the run has used, and what other calls have reserved if there are any. If it refuses while
    /// other calls have reservations, it is called again once one of them has ended; if it refuses without any, its
    /// error is returned.
    pub async fn reserve<E>(
        &self,
        max: Spending,
        check: impl Fn(Spending, Option<Spending>) -> Result<(), E> + Send + Sync,
    ) -> Result<Reservation, E>
    where
        E: Send,
    {
        loop {
            // Created before the check, so that no release after the check is missed.
            let released = self.shared.released.notified();
            {
                let mut state = self.shared.lock();
                let used = Spending {
                    tokens: state.usage.total.input_tokens.saturating_add(state.usage.total.output_tokens),
                    nanodollars: state.usage.total.cost_nanodollars.unwrap_or(0),
                };
                let (calls, reserved) = state.reserved;
                match check(used, (calls > 0).then_some(reserved)) {
                    Ok(()) => {
                        state.reserved = (calls + 1, reserved + max);
                        return Ok(Reservation { shared: Arc::clone(&self.shared), max });
                    }
                    Err(refused) if calls == 0 => return Err(refused),
                    Err(_) => {}
                }
            }
            released.await;
        }
    }
}

/// Tokens and their cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// Tokens, sent and received.
    pub tokens: u64,
    /// Cost in billionths of a US dollar.
    pub nanodollars: u64,
}

impl std::ops::Add for Spending {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            nanodollars: self.nanodollars.saturating_add(other.nanodollars),
        }
    }
}

impl std::ops::Sub for Spending {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            nanodollars: self.nanodollars.saturating_sub(other.nanodollars),
        }
    }
}

/// A reservation of what a call may use, until this is dropped.
#[must_use]
pub struct Reservation {
    shared: Arc<Shared>,
    max: Spending,
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("max", &self.max).finish_non_exhaustive()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            let (calls, reserved) = state.reserved;
            state.reserved = (calls.saturating_sub(1), reserved - self.max);
        }
        self.shared.released.notify_waiters();
    }
}

/// The key under which the answer to a request is recorded.
pub(crate) fn answer_key(request: RequestId) -> String {
    format!("answer:{request}")
}

/// The state that the engine and the executor share.
pub(crate) struct Shared {
    new: Arc<NewRun>,
    files: Arc<dyn FileStore>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes the executor: events were pushed, or a flush was requested.
    pub(crate) wake: Notify,
    /// Wakes the calls that wait for a reservation to end.
    released: Notify,
    written: watch::Sender<Progress>,
    /// Where events go if there is no log.
    sink: Option<Box<dyn Fn(Logged) + Send + Sync>>,
    room: Room,
}

#[derive(Default)]
struct State {
    recorded: HashMap<String, Recorded>,
    keys: std::collections::HashSet<String>,
    outbox: Vec<Logged>,
    pushed: u64,
    flush: bool,
    usage: Usage,
    /// The number of reservations, and their sum.
    reserved: (u64, Spending),
}

#[derive(Clone, Copy, Default)]
struct Progress {
    events: u64,
    claimed: bool,
    stopped: bool,
}

/// What the executor takes from the engine.
pub(crate) struct PendingEvents {
    pub(crate) events: Vec<Logged>,
    pub(crate) usage: Usage,
}

impl Shared {
    pub(crate) fn new(
        new: Arc<NewRun>,
        files: Arc<dyn FileStore>,
        clock: Arc<dyn Clock>,
        journal: &[Logged],
        usage: Usage,
        claimed: bool,
        room: Room,
    ) -> Arc<Self> {
        let progress = Progress { claimed, ..Progress::default() };
        let shared = Self { room, ..Self::empty(new, files, clock, usage, progress) };
        shared.absorb(journal);
        Arc::new(shared)
    }

    fn empty(
        new: Arc<NewRun>,
        files: Arc<dyn FileStore>,
        clock: Arc<dyn Clock>,
        usage: Usage,
        progress: Progress,
    ) -> Self {
        Self {
            new,
            files,
            clock,
            state: Mutex::new(State { usage, ..State::default() }),
            wake: Notify::new(),
            released: Notify::new(),
            written: watch::Sender::new(progress),
            sink: None,
            room: Room::default(),
        }
    }

    pub(crate) fn context(self: &Arc<Self>, rests_from: Duration) -> RunContext {
        RunContext { shared: Arc::clone(self), rests_from: Some(rests_from) }
    }

    /// Makes recorded events known to the engine.
    pub(crate) fn absorb(&self, journal: &[Logged]) {
        let mut state = self.lock();
        for logged in journal {
            if let Some(key) = &logged.key {
                let journal = logged.journal.clone().unwrap_or(Value::Null);
                state.recorded.insert(key.clone(), Recorded { body: logged.body.clone(), journal });
            }
        }
    }

    pub(crate) fn take(&self) -> PendingEvents {
        let mut state = self.lock();
        state.flush = false;
        PendingEvents { events: std::mem::take(&mut state.outbox), usage: state.usage.clone() }
    }

    /// Whether events wait for [`Shared::take`], and whether a flush was requested.
    pub(crate) fn waiting(&self) -> (bool, bool) {
        let state = self.lock();
        (!state.outbox.is_empty(), state.flush)
    }

    /// Notifies the engine how many of its events are written.
    pub(crate) fn wrote(&self, events: u64, claimed: bool) {
        self.written.send_modify(|progress| {
            progress.events = progress.events.max(events);
            progress.claimed |= claimed;
        });
    }

    /// Whether the run's log exceeds its limit.
    pub(crate) fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Notifies the engine that it is about to be dropped.
    pub(crate) fn stop(&self) {
        self.written.send_modify(|progress| progress.stopped = true);
    }

    fn push(&self, logged: Logged) {
        if let Some(sink) = &self.sink {
            return sink(logged);
        }
        self.room.log(&logged);
        let first = {
            let mut state = self.lock();
            state.outbox.push(logged);
            state.pushed += 1;
            state.outbox.len() == 1
        };
        if first || self.is_full() {
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
