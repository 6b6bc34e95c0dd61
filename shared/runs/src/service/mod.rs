//! The use cases, written once against the ports, the same on every backend.
//!
//! One file an operation, each with its own error; `execute` is what they have a run done by.

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
pub mod quota;
pub mod retry;
mod slots;
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
use serde_json::{Map, Value};
use slots::{Slot, Slots};
use std::{sync::Arc, time::Duration};
use suspects::{Place, Suspects};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The target of the `tracing` events that tell what can be counted and timed. Each is told once, by who wrote it to the
/// log, on level debug: a process that makes no metrics of them pays nothing.
///
/// | `measure` | fields beside `app` and `run` |
/// | --- | --- |
/// | `claimed` | `takeover`: whether another worker had the run under way; `wait_ms`: since its creation, for the first claim |
/// | `ended` | `status`; `duration_ms`: since its creation, waiting for people and workers included |
/// | `unreadable` | none: the sweeper could not read the run |
pub const MEASURES: &str = "runyard::measures";

/// The target of the `tracing` spans, on level debug: `run`, one execution of one run, in the span of who asked for it.
pub const SPANS: &str = "runyard::spans";

/// All that a service is plugged together from.
#[derive(Clone)]
pub struct Ports {
    /// Keeps runs.
    pub runs: Arc<dyn RunStore>,
    /// Keeps files.
    pub files: Arc<dyn FileStore>,
    /// Tells how much is stored.
    pub usage: Arc<dyn StorageUsage>,
    /// Brings runs to workers.
    pub queue: Arc<dyn RunQueue>,
    /// Finds apps.
    pub apps: Arc<dyn AppStore>,
    /// Executes workflows.
    pub engine: Arc<dyn Engine>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
}

/// What an execution takes up in this process.
struct Seat {
    slot: Slot,
    /// Of a run that has lost workers.
    place: Option<Place>,
    /// How far away a moment is for which the run is left without a process.
    rests_from: Duration,
}

/// The use cases of the Runs API. Cheap to clone.
#[derive(Clone)]
pub struct RunService {
    ports: Ports,
    live: Arc<LiveRuns>,
    slots: Arc<Slots>,
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

/// Pages of runs or events that are read at the same time; others wait. Each may hold tens of megabytes until it is written
/// into its answer.
const PAGES_AT_ONCE: usize = 4;

/// What a run takes by itself,
const RUN: usize = 32 << 10;

/// and how often its input is held: as it came, merged for the first nodes, and written to the log.
const COPIES: usize = 3;

/// What requests and runs may take together, unless it is said.
const MEMORY: usize = 1 << 30;

impl RunService {
    /// A service on these ports.
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
            memory: MemoryBudget::new(MEMORY),
            quotas: Arc::default(),
            reads: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
        }
    }

    /// The same service, with a limit, in bytes, on the memory of requests and runs together.
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { memory: MemoryBudget::new(bytes), ..self }
    }

    /// What requests and runs may take of the process's memory.
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    /// The same service, for a request or message whose platform gives it no more time than that: what is executed on
    /// its behalf journals what it has at `until`, and hands its run over to the queue.
    pub fn until(&self, until: Timestamp) -> Self {
        Self { until: Some(until), ..self.clone() }
    }

    /// The same service, for a process that executes the runs of many: a run that has lost two workers is executed by it
    /// once it has lived for so long without, twice as long for each worker that the run lost after that. Whatever kills
    /// the process more often is not taken for the run's doing.
    #[must_use]
    pub fn settling(self, time: Duration) -> Self {
        self.suspects.settle_in(time);
        self
    }

    /// Returns once nothing is executed in this process: where a process stands still between two requests, it must not
    /// answer before. What begins meanwhile is waited for as well.
    pub async fn idle(&self) {
        // A closed tracker takes new tasks all the same, and is done whenever it is empty.
        self.executions.close();
        self.executions.wait().await;
    }

    /// Stops accepting runs ([`create::Error::ShuttingDown`]), has every execution in this process hand its run over to
    /// the queue, and returns when all have, and what was
    /// counted in memory is stored.
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

    /// Executes a run in a task of its own, so that nobody's going away ends it.
    fn execute(
        &self,
        app: &Arc<App>,
        new: Arc<NewRun>,
        writer: Writer,
        live: Arc<Live>,
        followed: bool,
        seat: Seat,
    ) -> tokio::task::JoinHandle<Result<Writer, StoreError>> {
        let Seat { slot, place, rests_from } = seat;
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
                    tracing::error!(%run, %error, "the store failed; another worker takes the run over");
                }
                result
            }
            .instrument(span),
        )
    }

    /// Takes the memory that a run with this input begins with.
    fn take_memory(&self, app: &App, input: &Map<String, Value>) -> Result<TakenMemory, OutOfMemory> {
        let input: usize = input.iter().map(|(key, value)| key.len() + Size::of(value).memory).sum();
        self.memory.take(app.id, RUN + COPIES * input)
    }

    fn new_claim(&self) -> ClaimId {
        ClaimId(self.ports.ids.random())
    }
}
