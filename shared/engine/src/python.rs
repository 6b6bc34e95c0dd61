//! The seam to whatever runs the Python of a node.

use async_trait::async_trait;
use runyard_runs::AppId;
use serde_json::{Map, Value};
use std::time::Duration;

/// Runs the user's Python where it can do no harm.
#[async_trait]
pub trait PythonRunner: Send + Sync + 'static {
    /// Executes `code` and calls its function `run`: with `input` as one dictionary, or with its entries as keyword
    /// arguments. Dropped, it stops what it started. What runs for one `app` leaves room for others.
    async fn run(
        &self,
        app: AppId,
        code: &str,
        input: &Map<String, Value>,
        as_keywords: bool,
        timeout: Option<Duration>,
    ) -> Result<Value, PythonError>;
}

/// Why Python gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PythonError {
    /// The code raised, or is wrong, or used more than it may. The text is Python's `str(exception)`.
    #[error("{0}")]
    Raised(String),
    /// It did not end in time.
    #[error("the code did not end in time")]
    TimedOut,
    /// The sandbox itself does not work.
    #[error("the sandbox does not work: {0}")]
    Broken(String),
}
