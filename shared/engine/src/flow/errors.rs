//! `error_handling`: a node's timeout and retries, and how its failure affects other nodes.

use super::{Halt, NodeError};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// The settings of one node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ErrorHandling {
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry_interval: f64,
    pub(crate) max_retries: u32,
    pub(crate) backoff_rate: f64,
    pub(crate) max_retry_interval: Option<f64>,
    pub(crate) behavior: Behavior,
}

/// How the failure of a node affects the nodes that depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// They are skipped, and the flow fails.
    Raise,
    /// They run, and can read the error.
    Return,
}

impl Default for ErrorHandling {
    fn default() -> Self {
        Self {
            timeout: None,
            retry_interval: 1.0,
            max_retries: 0,
            backoff_rate: 1.0,
            max_retry_interval: None,
            behavior: Behavior::Raise,
        }
    }
}

impl ErrorHandling {
    /// Calls `work` with the number of failed attempts, until it succeeds, fails permanently, or the retries are used
    /// up.
    pub(crate) async fn attempts<T, W>(
        &self,
        seed: impl Hash + Copy,
        work: impl Fn(u32) -> W,
    ) -> Result<T, Halt>
    where
        W: Future<Output = Result<T, Halt>>,
    {
        for attempt in 0.. {
            let ended = match self.timeout {
                Some(limit) => match tokio::time::timeout(limit, work(attempt)).await {
                    Ok(ended) => ended,
                    Err(_) => Err(NodeError::new("TimeoutError", "").into()),
                },
                None => work(attempt).await,
            };
            match ended {
                Err(Halt::Failed(error)) if error.retryable && attempt < self.max_retries => {
                    tracing::debug!(attempt, error = %error.message, "node failed; retrying");
                    tokio::time::sleep(self.wait(attempt, seed)).await;
                }
                ended => return ended,
            }
        }
        Err(Halt::Stopped)
    }

    /// The wait after the failed attempt `attempt` (from 0): interval × rate^attempt, with a jitter of 10 % so that
    /// nodes that failed together do not retry together. The jitter is derived from `seed`, so that replays are
    /// deterministic.
    pub(crate) fn wait(&self, attempt: u32, seed: impl Hash) -> Duration {
        let mut hasher = DefaultHasher::new();
        (seed, attempt).hash(&mut hasher);
        let jitter = f64::from(u16::try_from(hasher.finish() & 0xffff).unwrap_or(0)) / f64::from(u16::MAX);
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let wait = self.retry_interval * self.backoff_rate.powi(exponent) * (0.9 + 0.2 * jitter);
        let wait = self.max_retry_interval.map_or(wait, |max| wait.min(max));
        seconds(wait)
    }
}

/// The duration of `seconds`: zero if that is not positive, [`Duration::MAX`] if it is not finite.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
