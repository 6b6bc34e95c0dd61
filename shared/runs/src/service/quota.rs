//! `limits.stored_bytes`: how much an app may have stored before it is refused more.
//!
//! Checked before a run is created or retried and while files are uploaded. Runs that were accepted go on:
//! `limits.run_bytes` bounds them.

use super::RunService;
use crate::{App, AppId, StoreError};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The app has stored as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the app has stored {used} bytes, and `limits.stored_bytes` is {quota}")]
pub struct QuotaExceeded {
    /// Bytes that the app has stored, uploads under way and what was refused included.
    pub used: u64,
    /// Bytes that it may have stored.
    pub quota: u64,
}

/// Why an app may not store more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has stored as much as it may.
    #[error(transparent)]
    Exceeded(#[from] QuotaExceeded),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What this process knows of quotas beside what is stored.
#[derive(Default)]
pub(super) struct Quotas {
    /// Bytes of uploads under way, which no store has counted yet.
    arriving: Mutex<HashMap<AppId, u64>>,
    /// The apps of which was logged that they use 80 % of their quota, until they use less.
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

/// The bytes of one upload under way. Counted by the app's quota until it is dropped: after that the store counts them.
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
    /// How many bytes the app may still store: 1 at least, else [`Error::Exceeded`].
    pub async fn left_to_store(&self, app: &App) -> Result<u64, Error> {
        let (used, quota) = (self.used_bytes(app).await?, app.limits.stored_bytes);
        self.quotas.warn(app, used, quota);
        quota.checked_sub(used).filter(|left| *left > 0).ok_or(QuotaExceeded { used, quota }.into())
    }

    /// An upload of the app that is about to begin.
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
