//! The port to the sandbox that runs the code of Python nodes.

use async_trait::async_trait;
use runyard_runs::AppId;
use serde_json::{Map, Value};
use std::time::Duration;

/// Runs the user's Python in a sandbox.
#[async_trait]
pub trait PythonRunner: Send + Sync + 'static {
    /// Executes `code` and calls its function `run`, with `input` as one dictionary or with its entries as keyword
    /// arguments. Dropping the future stops the code. One `app` cannot use up the room of the others.
    async fn run(
        &self,
        app: AppId,
        code: &str,
        input: &Map<String, Value>,
        as_keywords: bool,
        timeout: Option<Duration>,
    ) -> Result<Value, PythonError>;
}

/// Why Python returned no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PythonError {
    /// The code raised, is invalid, or exceeded a limit. The text is Python's `str(exception)`.
    #[error("{0}")]
    Raised(String),
    /// The code exceeded its timeout.
    #[error("the code did not end in time")]
    TimedOut,
    /// The sandbox itself failed.
    #[error("the sandbox failed: {0}")]
    Broken(String),
}
