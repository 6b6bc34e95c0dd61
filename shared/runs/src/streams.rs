//! The port that counts how many streams an app has open.

use crate::{AppId, StoreError};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Counts the open streams of each app, over all processes that serve it.
///
/// Promises: an app never has more than `max` places taken. Of several concurrent requests for the last place, all may
/// be refused. A place that is given back is free at once; the place of a process that died is free within half an
/// hour.
#[async_trait]
pub trait OpenStreams: Send + Sync + 'static {
    /// Takes a place for one more stream of the app; `None` if `max` are taken.
    async fn enter(&self, app: AppId, max: u32) -> Result<Option<StreamPermit>, StoreError>;

    /// Gives a place back. An error may be ignored: the place is freed later, as promised.
    async fn leave(&self, place: StreamPermit) -> Result<(), StoreError>;
}

/// The place of an open stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPermit {
    /// The app that the stream belongs to.
    pub app: AppId,
    /// The counter that the stream is counted in; only for the store.
    pub period: i64,
}

/// Counts the streams of this process.
#[derive(Debug, Default)]
pub struct ProcessStreams {
    open: Mutex<HashMap<AppId, u32>>,
}

#[async_trait]
impl OpenStreams for ProcessStreams {
    async fn enter(&self, app: AppId, max: u32) -> Result<Option<StreamPermit>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(app).or_default();
        let place = (*count < max).then(|| {
            *count += 1;
            StreamPermit { app, period: 0 }
        });
        Ok(place)
    }

    async fn leave(&self, place: StreamPermit) -> Result<(), StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&place.app) {
            *count -= 1;
            if *count == 0 {
                open.remove(&place.app);
            }
        }
        Ok(())
    }
}
