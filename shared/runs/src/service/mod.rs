//! The use cases, written against the ports and the same on every backend.
//!
//! One file per operation, each with its own error type. `execute` executes a run.

pub mod cancel;
pub mod create;
mod drive;
pub mod events;
mod execute;
pub mod get;
pub mod input;
pub mod list;
mod live;
mod measure;
mod permits;
pub mod quota;
pub mod retry;
mod suspects;
mod sweep;
mod work;

pub use sweep::Swept;

use crate::protocol::Writer;
use crate::{
    App, AppStore, ClaimId, Clock, Engine, FileStore, Ids, MemoryBudget, NewRun, OutOfMemory, RunQueue,
    RunStore, Size, StorageUsage, StoreError, TakenMemory, Timestamp,
};
use execute::Execution;
use live::{Live, LiveRuns};
use permits::{RunPermit, RunPermits};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use suspects::{ProbationPlace, Suspects};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The target of the `tracing` events for metrics. Each is emitted once, by the process that wrote the entry to the
/// log, at level debug: a process that makes no metrics of them has no cost.
///
/// | `measure` | fields in addition to `app` and `run` |
/// | --- | --- |
/// | `claimed` | `takeover`: whether another worker had the run under way; `wait_ms`: since its creation, for the first claim |
/// | `ended` | `status`; `duration_ms`: since its creation, including the time of waiting for people and workers |
/// | `unreadable` | none: the sweeper could not read the run |
pub const MEASURES: &str = "runyard::measures";

/// The target of the `tracing` spans, at level debug: `run`, one execution of one run, as a child of its caller's span.
pub const SPANS: &str = "runyard::spans";

/// The ports that a service uses.
#[derive(Clone)]
pub struct Ports {
    /// Keeps runs.
    pub runs: Arc<dyn RunStore>,
    /// Keeps files.
    pub files: Arc<dyn FileStore>,
    /// Counts how much apps have stored.
    pub usage: Arc<dyn StorageUsage>,
    /// Delivers runs to workers.
    pub queue: Arc<dyn RunQueue>,
    /// Finds apps.
    pub apps: Arc<dyn AppStore>,
    /// Executes workflows.
    pub engine: Arc<dyn Engine>,
    /// Returns the current time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
}

/// The places that an execution takes in this process.
struct ExecutionPlace {
    slot: RunPermit,
    /// The place of a run that has lost workers.
    place: Option<ProbationPlace>,
    /// Minimum duration of a rest.
    rests_from: Duration,
}

/// The use cases of the Runs API. Cheap to clone.
#[derive(Clone)]
pub struct RunService {
    ports: Ports,
    live: Arc<LiveRuns>,
    slots: Arc<RunPermits>,
    suspects: Arc<Suspects>,
    unreadable: Arc<sweep::Unreadable>,
    executions: TaskTracker,
    handing_over: CancellationToken,
    until: Option<Timestamp>,
    memory: Arc<MemoryBudget>,
    quotas: Arc<quota::Quotas>,
    /// Permits to read a page of runs or events.
    reads: Arc<Semaphore>,
}

/// Maximum number of pages of runs or events that are read at the same time; others wait. Each may hold tens of
/// megabytes until it is serialized into its response.
const MAX_CONCURRENT_PAGES: usize = 4;

/// Bytes of memory that a run takes in addition to its input.
const RUN_MEMORY: usize = 32 << 10;

/// Copies of the input that a run holds: as received, merged for the first nodes, and for the log.
const INPUT_COPIES: usize = 3;

/// Default of the memory budget for requests and runs, in bytes.
const DEFAULT_MEMORY: usize = 1 << 30;

impl RunService {
    /// Returns a service that uses these ports.
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            live: Arc::default(),
            slots: Arc::default(),
            suspects: Arc::new(Suspects::new()),
            unreadable: Arc::default(),
            executions: TaskTracker::new(),
            handing_over: CancellationToken::new(),
            until: None,
            memory: MemoryBudget::new(DEFAULT_MEMORY),
            quotas: Arc::default(),
            reads: Arc::new(Semaphore::new(MAX_CONCURRENT_PAGES)),
        }
    }

    /// The same service, with a memory budget of `bytes` for requests and runs.
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { memory: MemoryBudget::new(bytes), ..self }
    }

    /// The memory budget for requests and runs.
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    /// The same service, for a request or message whose platform limits its time: at `until`, executions that it has
    /// begun journal what is done and hand their runs over to the queue.
    pub fn until(&self, until: Timestamp) -> Self {
        Self { until: Some(until), ..self.clone() }
    }

    /// The same service, for a process that executes many runs: it executes a run that has lost two workers only after
    /// it has lived for `time`, doubled for each worker that the run has lost since. If something else kills the
    /// process sooner than that, it is not blamed on the run.
    #[must_use]
    pub fn settling(self, time: Duration) -> Self {
        self.suspects.settle_in(time);
        self
    }

    /// Returns once nothing is executed in this process, including executions that begin in the meantime. A process
    /// that is frozen between two requests must not respond before that.
    pub async fn idle(&self) {
        // A closed tracker still accepts new tasks; waiting ends once it is empty.
        self.executions.close();
        self.executions.wait().await;
    }

    /// Stops accepting runs ([`create::Error::ShuttingDown`]), and makes every execution in this process hand its run
    /// over to the queue. Returns when all have done so, and counts that were only in memory are stored.
    pub async fn shut_down(&self) {
        self.handing_over.cancel();
        self.executions.close();
        self.executions.wait().await;
        self.ports.usage.store_counts().await;
    }

    /// Whether [`RunService::shut_down`] was called.
    pub fn is_shutting_down(&self) -> bool {
        self.handing_over.is_cancelled()
    }

    /// Returns once [`RunService::shut_down`] is called.
    pub fn shutting_down(&self) -> impl Future<Output = ()> + Send + 'static {
        self.handing_over.clone().cancelled_owned()
    }

    /// Executes a run in a separate task, so that it does not end when its caller disconnects.
    fn execute(
        &self,
        app: &Arc<App>,
        new: Arc<NewRun>,
        writer: Writer,
        live: Arc<Live>,
        followed: bool,
        seat: ExecutionPlace,
    ) -> tokio::task::JoinHandle<Result<Writer, StoreError>> {
        let ExecutionPlace { slot, place, rests_from } = seat;
        let execution = Execution {
            place,
            rests_from,
            ports: self.ports.clone(),
            app: Arc::clone(app),
            new,
            writer,
            live: Arc::clone(&live),
            followed,
            handing_over: self.handing_over.clone(),
            until: self.until,
            memory: slot.memory.clone(),
        };
        let entered = self.live.enter(execution.new.id, live);
        let span = tracing::debug_span!(target: SPANS, "run", run = %execution.new.id, app = %app.name);
        self.executions.spawn(
            async move {
                let run = execution.new.id;
                let result = execution.run().await;
                drop((entered, slot));
                if let Err(error) = &result {
                    tracing::error!(%run, %error, "store failed, another worker takes the run over");
                }
                result
            }
            .instrument(span),
        )
    }

    /// Takes the memory that a run with this input needs at its start.
    fn take_memory(&self, app: &App, input: &Map<String, Value>) -> Result<TakenMemory, OutOfMemory> {
        let input: usize = input.iter().map(|(key, value)| key.len() + Size::of(value).memory).sum();
        self.memory.take(app.id, RUN_MEMORY + INPUT_COPIES * input)
    }

    fn new_claim(&self) -> ClaimId {
        ClaimId(self.ports.ids.random())
    }
}
