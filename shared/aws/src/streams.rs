//! Counts open streams.
//!
//! ```text
//! STREAMS#<app>, OPENED#<quarter of an hour since 1970>     number of streams opened in it, less those closed since
//! ```
//!
//! Lambda ends a response after 15 minutes. So every stream that was opened before the previous quarter of an hour is
//! closed, even if its process died without counting it as closed.

use crate::{
    aws::Shared,
    error::store_error,
    item::{Reader, number, text},
    table::{PK, SK, TTL},
};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnValue;
use runyard_runs::{AppId, OpenStreams, StoreError, StreamPermit};
use std::sync::Arc;

/// Maximum duration of a stream, in milliseconds.
const PERIOD_MILLIS: i64 = 15 * 60 * 1000;

/// [`OpenStreams`] on DynamoDB: a write and a read for each stream that opens, a write for each that closes.
pub struct Streams {
    home: Arc<Shared>,
}

impl Streams {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home }
    }

    /// Adds to the open streams of a period; returns their new number.
    async fn add(&self, place: StreamPermit, streams: i64) -> Result<i64, StoreError> {
        let kept_until = (place.period + 3) * PERIOD_MILLIS / 1000;
        let updated = self
            .home
            .clients
            .dynamodb
            .update_item()
            .table_name(&self.home.config.table)
            .key(PK, text(partition(place.app)))
            .key(SK, text(period(place.period)))
            .update_expression("ADD opened :streams SET #ttl = :kept_until")
            .expression_attribute_names("#ttl", TTL)
            .expression_attribute_values(":streams", number(streams))
            .expression_attribute_values(":kept_until", number(kept_until))
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(store_error)?;
        Reader(&updated.attributes.unwrap_or_default()).number("opened")
    }

    /// Returns the number of open streams of a period.
    async fn of(&self, place: StreamPermit) -> Result<i64, StoreError> {
        let found = self
            .home
            .clients
            .dynamodb
            .get_item()
            .table_name(&self.home.config.table)
            .key(PK, text(partition(place.app)))
            .key(SK, text(period(place.period)))
            // A stream that was opened just before the period ended must be counted.
            .consistent_read(true)
            .send()
            .await
            .map_err(store_error)?;
        found.item.map_or(Ok(0), |item| Reader(&item).number("opened"))
    }
}

fn partition(app: AppId) -> String {
    format!("STREAMS#{app}")
}

fn period(number: i64) -> String {
    format!("OPENED#{number}")
}

#[async_trait]
impl OpenStreams for Streams {
    async fn enter(&self, app: AppId, limit: u32) -> Result<Option<StreamPermit>, StoreError> {
        let now = StreamPermit { app, period: self.home.clock.now().0.div_euclid(PERIOD_MILLIS) };
        let before = StreamPermit { period: now.period - 1, ..now };
        // A process that dies during a stream leaves the count too high by one, never too low.
        let (opened, earlier) = tokio::try_join!(self.add(now, 1), self.of(before))?;
        if opened + earlier <= i64::from(limit) {
            return Ok(Some(now));
        }
        self.add(now, -1).await?;
        Ok(None)
    }

    async fn leave(&self, place: StreamPermit) -> Result<(), StoreError> {
        self.add(place, -1).await.map(drop)
    }
}
