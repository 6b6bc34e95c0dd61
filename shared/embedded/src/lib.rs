//! The ports of `runyard-runs` on SQLite and the file system, for one machine.
//!
//! Promises:
//!
//! - An acknowledged write is on disk and survives `kill -9` and power loss (WAL, `synchronous=FULL`).
//! - One fsync serves all writes that wait for it.
//! - Several processes may share a data directory.
//! - The runs of a dead process become due when another process checks for it ([`Embedded::suspect_dead_workers`]).
//! - Memory is bounded, however many runs are stored.
//!
//! Knows `runyard-runs` only: nothing about HTTP, the execution of workflows, or the process that it is part of. It
//! watches no file and has no periodic task. Its threads: one that writes, one that copies the WAL, and a few that
//! read.
//!
//! ```text
//! <data>/runyard.db            runs, logs, keys, app versions, file metadata, agents' memory, bytes stored by each app
//! <data>/files/<app>/<file>    file contents
//! <data>/uploads/<worker>/     unfinished uploads of a live process
//! <data>/workers/<worker>.lock held (flock) by a live process
//! ```

mod apps;
mod database;
mod embedded;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod keys;
mod memories;
mod private;
mod queue;
mod runs;
mod usage;
mod worker;

pub use apps::{Apps, AppsError, Check, Problem};
pub use embedded::{Embedded, Error, Options};
pub use files::Files;
pub use keys::Keys;
pub use memories::Memories;
pub use queue::Queue;
pub use runs::Runs;
pub use usage::Usage;
