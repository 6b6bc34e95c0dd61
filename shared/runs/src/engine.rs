//! The port to the engine, and all that the engine sees of a run.

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
/// Deterministic but for what it gets from a [`RunContext`]: executed again on the same journal, it asks for the same
/// steps under the same keys. Compiled workflows are kept by `(app.id, app.version)`.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Checks an app before it is served: whether its workflow loads, and all that is wrong with it. Gives what stands in
    /// it without effect, which keeps no app from being served.
    async fn check_app(&self, app: &App) -> Result<Vec<Warning>, BoxError>;

    /// The same warnings, also of an app whose workflow does not load: then what was seen of it.
    async fn warnings(&self, app: &App) -> Vec<Warning> {
        self.check_app(app).await.unwrap_or_default()
    }

    /// Checks `input` against the schema of the app's Input node, where the run's files stand under `files` unless it has
    /// that itself. The error maps a field to what is wrong with it; the field `input` stands for the whole.
    async fn check_input(
        &self,
        app: &App,
        input: &Map<String, Value>,
        files: &[File],
    ) -> Result<(), FieldErrors>;

    /// Checks what a person changes of the params of a question to what its [`schema`](InputRequest::schema) has. The error
    /// maps a field, `params.NAME`, to what is wrong with it.
    fn check_params(&self, _asked: &InputRequest, _changed: &Map<String, Value>) -> Result<(), FieldErrors> {
        Ok(())
    }

    /// Executes the run from its start; what its journal has is not done again.
    ///
    /// A failure is recorded with `handled: true` in its journal if others go on from it. A run that retries this one keeps
    /// such a failure; of any other it keeps neither that nor what stands under the keys that the failure's journal lists
    /// as `void`.
    ///
    /// May be dropped at any await: the run is then canceled, or goes on elsewhere from what was recorded.
    async fn execute(&self, app: &App, run: RunContext) -> Outcome;
}

/// Something in an app's workflow file that is probably not what its author meant.
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

/// As errors show: `file:line:column: message`.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// What is wrong with a request, by field.
pub type FieldErrors = BTreeMap<String, String>;

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With the run's output.
    Completed(Arc<Value>),
    /// With an error.
    Failed(RunError),
    /// Nothing can go on without an answer to one of the requests that were asked.
    Suspended,
    /// Nothing can go on before this moment, but for an answer to a request that was asked. Only of a run that
    /// [may rest](RunContext::rests_from): it is left without a process, and executed again then.
    Resting(Timestamp),
}

/// What the engine sees of a run. Cheap to clone.
#[derive(Clone)]
pub struct RunContext {
    shared: Arc<Shared>,
    /// For how long at least it is left without a process, if it may be.
    rests_from: Option<Duration>,
}

/// What was recorded under a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The event that it rode on.
    pub body: EventBody,
    /// The journal.
    pub journal: Value,
}

/// The answer of a person, as it stands in the journal of `input.received`.
pub type Answer = Value;

/// What came of a question so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A person answered.
    Answered(Answer),
    /// Nobody answered in time.
    Expired,
    /// It is open; the caller suspends.
    Pending,
}

/// Why [`RunContext::outside`] or [`RunContext::step`] does not go on: the execution is about to be dropped.
/// Return, or wait to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run is no longer executed here")]
pub struct Stopped;

impl RunContext {
    /// A context without a log, for the engine alone: calls outside are granted at once, and `sink` gets what would be
    /// written. Starts from `journal`, which may be empty. Who executes it waits for every moment.
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

    /// The same, executed by somebody who comes again at the moment of an [`Outcome::Resting`] that is further away
    /// than this.
    pub fn resting(self, from: Duration) -> Self {
        Self { rests_from: Some(from), ..self }
    }

    /// How far away the moment of an [`Outcome::Resting`] is at least; absent where the execution may not come to one.
    pub fn rests_from(&self) -> Option<Duration> {
        self.rests_from
    }

    /// What was asked for.
    pub fn new_run(&self) -> &NewRun {
        &self.shared.new
    }

    /// Shows an event to who follows the run: written first, at most 100 ms later, then shown.
    ///
    /// For what a replay does not do again, like a piece of an LLM's text.
    pub fn emit(&self, body: EventBody) {
        self.shared.push(body.into());
    }

    /// Records a step that is done, under a key that is unique in the run, with what a replay needs to know of it.
    /// Does nothing if the key is recorded. It is written at most 100 ms later, and before the next call outside.
    pub fn record(&self, key: &str, body: EventBody, journal: Option<Value>) {
        let mut state = self.shared.lock();
        if !state.recorded.contains_key(key) && state.keys.insert(key.to_owned()) {
            drop(state);
            self.shared.push(Logged { body, key: Some(key.to_owned()), journal });
        }
    }

    /// What an earlier execution recorded under this key.
    pub fn recorded(&self, key: &str) -> Option<Recorded> {
        self.shared.lock().recorded.get(key).cloned()
    }

    /// Returns when the run may call outside (an LLM, a tool): the claim is acknowledged, and all that was recorded.
    /// Call it before each such call, and again before each retry.
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

    /// Does something outside once: gives the journaled result if there is one, else runs `work` after
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

    /// Asks a person. Gives what came of it if that is in the log; else records the request once, and the caller suspends:
    /// when no other work is left, [`Engine::execute`] gives [`Outcome::Suspended`].
    ///
    /// `body` makes the event that asks. The request's id is the run's and the key's (UUID version 5), so a replay asks the
    /// same question; one that the run keeps of the run that it retries keeps its id.
    pub fn ask(
        &self,
        key: &str,
        request: InputRequest,
        body: impl FnOnce(InputRequest) -> EventBody,
    ) -> Asked {
        self.ask_with(key, request, Value::Null, body)
    }

    /// [`RunContext::ask`], with what a replay needs to know of the question.
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

    /// What came of the question that was asked under this key; [`Asked::Pending`] if it was not asked.
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

    /// The time, by the clock of who executes the run. A replay gets another: record what follows from it.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// What is known of one of the run's files.
    pub fn file(&self, id: FileId) -> Option<&File> {
        self.shared.new.files.iter().find(|file| file.id == id)
    }

    /// The content of one of the run's files.
    pub async fn open(
        &self,
        id: FileId,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        if self.file(id).is_none() {
            return Ok(None);
        }
        self.shared.files.open(self.shared.new.app, id).await
    }

    /// Whether the execution is about to be dropped: nothing more is to be spent.
    pub fn canceled(&self) -> bool {
        self.shared.written.borrow().stopped
    }

    /// Takes `bytes` of the process's memory budget for what the run holds until its end. If refused, it must not be held.
    pub fn take_memory(&self, bytes: usize) -> Result<(), OutOfMemory> {
        self.shared.room.take(bytes)
    }

    /// Adds one LLM call to the run's usage; call it beside the record of its answer.
    pub fn used(&self, model: &str, usage: &ModelUsage) {
        self.shared.lock().usage.add(model, usage);
    }

    /// What the run has used so far.
    pub fn usage(&self) -> Usage {
        self.shared.lock().usage.clone()
    }

    /// Counts what a call may use, until the reservation is dropped: after what it used is [`RunContext::used`], or it failed.
    ///
    /// `check` gets what is used, and what other calls have reserved if there are any. What it refuses beside them is asked
    /// again once one of them has ended; what it refuses without them is refused.
    pub async fn reserve<E>(
        &self,
        most: Spending,
        check: impl Fn(Spending, Option<Spending>) -> Result<(), E> + Send + Sync,
    ) -> Result<Reservation, E>
    where
        E: Send,
    {
        loop {
            // Made before the check, so that nothing that is released after it is missed.
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
                        state.reserved = (calls + 1, reserved + most);
                        return Ok(Reservation { shared: Arc::clone(&self.shared), most });
                    }
                    Err(refused) if calls == 0 => return Err(refused),
                    Err(_) => {}
                }
            }
            released.await;
        }
    }
}

/// Tokens, in and out, and billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// Tokens.
    pub tokens: u64,
    /// What they cost.
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

/// What a call may use, counted while it lives.
#[must_use]
pub struct Reservation {
    shared: Arc<Shared>,
    most: Spending,
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            let (calls, reserved) = state.reserved;
            state.reserved = (calls.saturating_sub(1), reserved - self.most);
        }
        self.shared.released.notify_waiters();
    }
}

/// The key under which the answer to a request is recorded.
pub(crate) fn answer_key(request: RequestId) -> String {
    format!("answer:{request}")
}

/// What the engine and the executor share.
pub(crate) struct Shared {
    new: Arc<NewRun>,
    files: Arc<dyn FileStore>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes the executor: something was pushed, or is wanted.
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
    /// How many calls have reserved something, and what.
    reserved: (u64, Spending),
}

#[derive(Clone, Copy, Default)]
struct Progress {
    events: u64,
    claimed: bool,
    stopped: bool,
}

/// What the executor takes over from the engine.
pub(crate) struct Taken {
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

    /// Makes what stands in the log known to the engine.
    pub(crate) fn absorb(&self, journal: &[Logged]) {
        let mut state = self.lock();
        for logged in journal {
            if let Some(key) = &logged.key {
                let journal = logged.journal.clone().unwrap_or(Value::Null);
                state.recorded.insert(key.clone(), Recorded { body: logged.body.clone(), journal });
            }
        }
    }

    pub(crate) fn take(&self) -> Taken {
        let mut state = self.lock();
        state.flush = false;
        Taken { events: std::mem::take(&mut state.outbox), usage: state.usage.clone() }
    }

    /// Whether something waits for [`Shared::take`], and whether urgently.
    pub(crate) fn waiting(&self) -> (bool, bool) {
        let state = self.lock();
        (!state.outbox.is_empty(), state.flush)
    }

    /// Tells the engine how many of its events are written.
    pub(crate) fn wrote(&self, events: u64, claimed: bool) {
        self.written.send_modify(|progress| {
            progress.events = progress.events.max(events);
            progress.claimed |= claimed;
        });
    }

    /// Whether the run's log has more than it may.
    pub(crate) fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Tells the engine that it is about to be dropped.
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
