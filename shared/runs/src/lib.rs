//! The domain of Runyard: runs, their logs, and the ports to the world.
//!
//! Promises: every accepted run reaches a terminal state; a run's events have no gap, and exactly one of them is
//! terminal; no recorded result is computed twice; what a caller was shown is on disk.
//!
//! Knows nothing of HTTP, of any store, of any workflow format. Time, randomness and every outside effect come in
//! through ports.
//!
//! | module | what |
//! | --- | --- |
//! | [`protocol`] | who may append what to a run's log, without any I/O; explored exhaustively by the model |
//! | [`service`] | the use cases, written once against the ports |
//! | `store`, `file`, `queue`, `app`, `key`, `memory`, `streams`, `id`, `time`, `engine` | the ports and the types that cross them |
//! | `run`, `event`, `entry`, `record` | what a run is |

mod app;
mod engine;
mod entry;
mod event;
mod file;
mod id;
mod key;
mod memory;
pub mod protocol;
mod queue;
mod record;
mod run;
mod secret;
pub mod service;
mod store;
mod streams;
mod time;

pub use app::{App, AppStore, Limits, OutputCache, Price, WorkflowSource};
pub use engine::{
    Answer, Asked, Engine, FieldErrors, Outcome, Recorded, Reservation, RunContext, Spending, Stopped,
    Warning,
};
pub use entry::{ENTRY_VERSION, Entry, LogState, Logged, MAX_NESTING, Pending, is_too_deep};
pub use event::{EventBody, NodeRef, RunEvent, Sequence, ToolCall, ToolRef};
pub use file::{File, FileStore, NewFile, Upload};
pub use id::{AppId, ClaimId, FileId, Ids, OrganizationId, ProjectId, RequestId, RunId, SystemIds};
pub use key::{AccessKey, Credential, KeyStore, Scope};
pub use memory::{MemoryScope, MemoryStore, MemoryTurn, ProcessMemory};
pub use queue::RunQueue;
pub use record::{Field, Guard, Record, RecordChange};
pub use run::{
    Actor, CacheWrites, InputRequest, InputRequestKind, ModelUsage, NewRun, Origin, ReportedStatus, Run,
    RunError, RunStatus, Usage,
};
pub use secret::{BadSecretReference, SecretReference};
pub use service::RunService;
pub use store::{
    Append, BoxError, COUNT_CAP, Create, Head, IdempotencyItem, ListError, ListQuery, LogRead, PageStart,
    RunPage, RunStore, Sort, SortBy, StoreError, StoredRun, Update,
};
pub use streams::{OpenStreams, ProcessStreams, StreamPlace};
pub use time::{Clock, SystemClock, Timestamp};
