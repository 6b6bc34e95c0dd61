//! How much apps have stored, and the port that counts it.

use crate::{AppId, StoreError, Timestamp};
use async_trait::async_trait;

/// Bytes that are counted for a run, a file or a remembered turn beside its content, for what is kept about it: else no
/// number of empty ones would reach a quota.
pub const RECORD_BYTES: u64 = 1024;

/// Tells how many bytes of an app are stored.
///
/// Counted are, with [`RECORD_BYTES`] for each, runs (what was asked for, and the entries of their logs, both as JSON), files
/// (their content) and what agents remember (as JSON).
///
/// Promises:
///
/// - What expires on one day, in UTC, is counted until the end of that day and not after it, whether it is deleted by then
///   or not. A file that is deleted earlier is no longer counted.
/// - What this process was told is stored is in what it reads after that. What other processes stored may be missing for
///   15 s, or 30 s on a backend that gathers counts in memory.
/// - A backend may lose the counts that a process gathered in memory if that dies: 1 MiB and one entry at most.
#[async_trait]
pub trait StorageUsage: Send + Sync + 'static {
    /// How many bytes of the app are stored and had not expired before the day of `now`.
    async fn stored_bytes(&self, app: AppId, now: Timestamp) -> Result<u64, StoreError>;

    /// Stores what was counted in memory only. For a process that is about to end.
    async fn store_counts(&self) {}
}
