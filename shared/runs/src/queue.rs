//! The port that delivers runs to workers.

use crate::{AppId, RunId, StoreError};
use async_trait::async_trait;
use std::time::Duration;

/// Delivers runs to workers: once, several times, or never. A run whose message is lost is found by its `due`.
///
/// How a worker receives messages is up to the platform.
#[async_trait]
pub trait RunQueue: Send + Sync + 'static {
    /// Delivers the run to a worker after `delay`. Runs of one app do not starve those of another.
    async fn enqueue(&self, app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError>;

    /// The same for a run that has lost its worker: it is delivered before new work of its app, if the platform keeps
    /// an order.
    async fn enqueue_first(&self, app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError> {
        self.enqueue(app, run, delay).await
    }
}
