//! The use cases, written once against the ports, the same on every backend.
//!
//! One file an operation, each with its own error.

pub mod cancel;
pub mod create;
pub mod events;
pub mod get;
pub mod input;
pub mod list;

use crate::{App, AppStore, Clock, Engine, FileStore, Ids, RunId, RunQueue, RunStore};
use std::sync::Arc;

/// All that a service is plugged together from.
#[derive(Clone)]
pub struct Ports {
    /// Keeps runs.
    pub runs: Arc<dyn RunStore>,
    /// Keeps files.
    pub files: Arc<dyn FileStore>,
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

/// The use cases of the Runs API. Cheap to clone.
#[derive(Clone)]
pub struct RunService {
    ports: Ports,
}

impl RunService {
    /// A service on these ports.
    pub fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Executes one run as far as it goes here: what a worker does with a message from the queue.
    /// Gives nothing: whatever comes of it stands in the log.
    pub async fn work(&self, run: RunId) -> Result<(), crate::StoreError> {
        let _ = run;
        todo!()
    }

    /// Looks at up to `limit` runs that are due, and removes what expired: what the sweeper does each minute.
    pub async fn sweep(&self, limit: usize) -> Result<Swept, crate::StoreError> {
        let _ = limit;
        todo!()
    }

    /// Stops accepting runs ([`create::Error::ShuttingDown`]), has every execution in this process hand its run over to
    /// the queue, and returns when all have.
    pub async fn shut_down(&self) {
        todo!()
    }

    /// Whether [`RunService::shut_down`] was called.
    pub fn is_shutting_down(&self) -> bool {
        todo!()
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs that were brought to a worker again.
    pub requeued: usize,
    /// Runs that were failed: expired, or lost by too many workers.
    pub failed: usize,
    /// Runs and files that were deleted.
    pub deleted: usize,
}
