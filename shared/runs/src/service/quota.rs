//! `limits.stored_bytes`: the storage quota of an app.
//!
//! Checked before a run is created or retried, and while files are uploaded. Accepted runs continue: `limits.run_bytes`
//! bounds them.

use super::RunService;
use crate::{App, AppId, StoreError};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The app has reached its storage quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the app has stored {used} bytes, and `limits.stored_bytes` is {quota}")]
pub struct QuotaExceeded {
    /// Bytes that the app has stored, including uploads under way and the refused bytes.
    pub used: u64,
    /// Bytes that the app may have stored.
    pub quota: u64,
}

/// Why an app may not store more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has reached its storage quota.
    #[error(transparent)]
    Exceeded(#[from] QuotaExceeded),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The state of quotas that is only in this process.
#[derive(Default)]
pub(super) struct Quotas {
    /// Bytes of uploads under way, which the store does not count yet.
    arriving: Mutex<HashMap<AppId, u64>>,
    /// The apps for which a warning was logged, until they use less than 80 % of their quota.
    warned: Mutex<HashSet<AppId>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Quotas {
    fn warn(&self, app: &App, used: u64, quota: u64) {
        let is_near = used / 4 >= quota / 5;
        let mut warned = lock(&self.warned);
        if is_near && warned.insert(app.id) {
            tracing::warn!(app = %app.name, used, quota, "the app has stored more than 80 % of `limits.stored_bytes`");
        } else if !is_near {
            warned.remove(&app.id);
        }
    }
}

/// The bytes of one upload under way. They count against the app's quota until this is dropped; after that, the store
/// counts them.
pub struct Arriving {
    quotas: Arc<Quotas>,
    app: AppId,
    bytes: u64,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut arriving = lock(&self.quotas.arriving);
        if let Some(bytes) = arriving.get_mut(&self.app) {
            *bytes -= self.bytes;
            if *bytes == 0 {
                arriving.remove(&self.app);
            }
        }
    }
}

impl RunService {
    /// Returns how many bytes the app may still store, at least 1; [`Error::Exceeded`] if none.
    pub async fn left_to_store(&self, app: &App) -> Result<u64, Error> {
        let (used, quota) = (self.used_bytes(app).await?, app.limits.stored_bytes);
        self.quotas.warn(app, used, quota);
        quota.checked_sub(used).filter(|left| *left > 0).ok_or(QuotaExceeded { used, quota }.into())
    }

    /// Begins to count an upload of the app.
    pub fn arriving(&self, app: &App) -> Arriving {
        Arriving { quotas: Arc::clone(&self.quotas), app: app.id, bytes: 0 }
    }

    /// Counts further bytes of an upload, before they are written; [`Error::Exceeded`] if they do not fit.
    pub async fn receive(&self, app: &App, upload: &mut Arriving, bytes: u64) -> Result<(), Error> {
        upload.bytes += bytes;
        *lock(&self.quotas.arriving).entry(app.id).or_default() += bytes;
        let (used, quota) = (self.used_bytes(app).await?, app.limits.stored_bytes);
        if used > quota { Err(QuotaExceeded { used, quota }.into()) } else { Ok(()) }
    }

    async fn used_bytes(&self, app: &App) -> Result<u64, StoreError> {
        let stored = self.ports.usage.stored_bytes(app.id, self.ports.clock.now()).await?;
        let arriving = lock(&self.quotas.arriving).get(&app.id).copied().unwrap_or(0);
        Ok(stored.saturating_add(arriving))
    }
}
