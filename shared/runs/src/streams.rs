//! The port that counts how many streams an app has open.

use crate::{AppId, StoreError};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Counts the open streams of each app, over all processes that serve it.
///
/// Promises: of those who ask for one of `most` places, no more than that have one at a time; who asks at the same time as
/// another for the last one may be refused as well. A place that is given back is free. One whose process died is free again
/// within half an hour.
#[async_trait]
pub trait OpenStreams: Send + Sync + 'static {
    /// A place for one more stream of the app; `None` if it has `most` already.
    async fn enter(&self, app: AppId, most: u32) -> Result<Option<StreamPlace>, StoreError>;

    /// Gives a place back. That it failed is no matter: see the promise.
    async fn leave(&self, place: StreamPlace) -> Result<(), StoreError>;
}

/// An open stream's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPlace {
    /// The app.
    pub app: AppId,
    /// Among which streams it is counted: for the store alone.
    pub period: i64,
}

/// Counts the streams of this process.
#[derive(Debug, Default)]
pub struct ProcessStreams {
    open: Mutex<HashMap<AppId, u32>>,
}

#[async_trait]
impl OpenStreams for ProcessStreams {
    async fn enter(&self, app: AppId, most: u32) -> Result<Option<StreamPlace>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(app).or_default();
        let place = (*count < most).then(|| {
            *count += 1;
            StreamPlace { app, period: 0 }
        });
        Ok(place)
    }

    async fn leave(&self, place: StreamPlace) -> Result<(), StoreError> {
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
