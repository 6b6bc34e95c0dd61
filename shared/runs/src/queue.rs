//! The port that brings runs to workers.

use crate::{AppId, RunId, StoreError};
use async_trait::async_trait;
use std::time::Duration;

/// Delivers runs to workers, at least once, or not at all: a run that gets lost is found by its `due`.
///
/// Receiving is the platform's business.
#[async_trait]
pub trait RunQueue: Send + Sync + 'static {
    /// Has a worker look at the run after `delay`. Runs of one app do not starve those of another.
    async fn enqueue(&self, app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError>;

    /// The same for a run that has lost its worker: it goes before new work of its app, where the platform has an order.
    async fn enqueue_first(&self, app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError> {
        self.enqueue(app, run, delay).await
    }
}
