//! The ports of `runyard-runs` on SQLite and the file system, for one machine.
//!
//! Promises: what a write acknowledged is on disk and survives `kill -9` and power loss (WAL, `synchronous=FULL`); one
//! fsync serves all writes that wait for it; several processes may share a data directory; the runs of a process that
//! died are due as soon as another one looks ([`Embedded::suspect_dead_workers`]); memory is bounded, however many
//! runs are stored.
//!
//! Knows `runyard-runs` only: nothing of HTTP, of how a workflow runs, or of the process that it lives in. It
//! starts no task and watches no file; its threads are one that writes and a few that read.
//!
//! ```text
//! <data>/runyard.db            runs, logs, keys, app versions, what is known of files, what agents remember, how much apps store
//! <data>/files/<app>/<file>    file contents
//! <data>/uploads/<worker>/     files being stored by a live process
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
