//! The storage usage of apps, and the port that counts it.

use crate::{AppId, StoreError, Timestamp};
use async_trait::async_trait;

/// Bytes that are counted for each run, file or remembered turn in addition to its content, for its metadata. Without
/// them, no number of empty ones would reach a quota.
pub const RECORD_BYTES: u64 = 1024;

/// Counts how many bytes an app has stored.
///
/// It counts runs (their requests and log entries, both as JSON), files (their content) and the turns that agents
/// remember (as JSON), with [`RECORD_BYTES`] for each in addition.
///
/// Promises:
///
/// - Data that expires on one day, in UTC, is counted until the end of that day and not after it, whether or not it has
///   been deleted by then. A file that is deleted earlier is no longer counted.
/// - Writes that were acknowledged to this process are included in its later reads. Writes of other processes may be
///   missing for 15 s, or 30 s on a backend that gathers counts in memory.
/// - A backend may lose the counts that a process gathered in memory if the process dies: at most 1 MiB and one entry.
#[async_trait]
pub trait StorageUsage: Send + Sync + 'static {
    /// Returns how many bytes the app has stored, without those that expired before the day of `now`.
    async fn stored_bytes(&self, app: AppId, now: Timestamp) -> Result<u64, StoreError>;

    /// Stores counts that are only in memory. For a process that is about to end.
    async fn store_counts(&self) {}
}
