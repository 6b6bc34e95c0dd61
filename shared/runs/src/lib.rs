//! The domain of Runyard: runs, their logs, and the ports to the world.
//!
//! Promises: every accepted run reaches a terminal state; a run's events have no gap, and exactly one of them is
//! terminal; no recorded result is computed twice; what a caller was shown is on disk.
//!
//! Knows nothing about HTTP, stores or workflow formats. Time, randomness and all effects on the outside world go
//! through ports.
//!
//! | module | what |
//! | --- | --- |
//! | [`protocol`] | the rules on appending to a run's log, without any I/O; explored exhaustively by the model |
//! | [`service`] | the use cases, written against the ports |
//! | `store`, `file`, `usage`, `queue`, `app`, `key`, `memory`, `streams`, `id`, `time`, `engine` | the ports and the types that cross them |
//! | `run`, `event`, `entry`, `record` | what a run is |
//! | `json`, `budget` | limits on the size of untrusted JSON; the memory budget of the process |

mod app;
mod budget;
mod engine;
mod entry;
mod event;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod id;
mod json;
mod key;
mod memory;
pub mod protocol;
mod queue;
mod record;
mod room;
mod run;
mod secret;
pub mod service;
mod store;
mod streams;
mod time;
mod usage;

pub use app::{App, AppStore, Limits, OutputCache, Price, WorkflowSource};
pub use budget::{MemoryBudget, OutOfMemory, TakenMemory};
pub use engine::{
    Answer, Asked, Engine, FieldErrors, Outcome, Recorded, Reservation, RunContext, Spending, Stopped,
    Warning,
};
pub use entry::{ENTRY_VERSION, Entry, LogState, Logged, Pending};
pub use event::{EventBody, NodeRef, RunEvent, Sequence, ToolCall, ToolRef};
pub use file::{File, FileStore, NewFile, Upload};
pub use id::{AppId, ClaimId, FileId, Ids, OrganizationId, ProjectId, RequestId, RunId, SystemIds};
pub use json::{
    JsonError, MAX_INPUT_VALUES, MAX_NESTING, MAX_OUTPUT_BYTES, MAX_OUTPUT_MEMORY, MAX_OUTPUT_VALUES, Size,
    holds_more_values, is_too_deep, parse_json,
};
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
    Append, BoxError, COUNT_CAP, Create, Head, IdempotencyItem, ListError, ListQuery, LogRange, LogRead,
    PAGE_BYTES, PageStart, RunPage, RunStore, Sort, SortBy, StoreError, StoredRun, Update,
};
pub use streams::{OpenStreams, ProcessStreams, StreamPermit};
pub use time::{Clock, SystemClock, Timestamp};
pub use usage::{RECORD_BYTES, StorageUsage};
