//! The queue.

use crate::{aws::Home, error::store_error};
use async_trait::async_trait;
use runyard_runs::{AppId, RunId, RunQueue, StoreError};
use std::{sync::Arc, time::Duration};

/// The longest that SQS holds a message back.
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// [`RunQueue`] on an SQS standard queue.
///
/// A message is a hint: its body is the run's id and nothing else, its group is the app, so that SQS serves apps with few
/// runs before the backlog of one with many (fair queues). One request sends it.
///
/// SQS holds a message back for 900 s at most. For a longer delay nothing is sent at all: the run's `due` has it
/// brought here when it is time, whereas a message that comes early has a worker look and find nothing to do.
pub struct Queue {
    home: Arc<Home>,
}

impl Queue {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home }
    }

    /// Opens a connection.
    pub(crate) async fn warm(&self) {
        let asked = self.home.clients.sqs.get_queue_attributes().queue_url(&self.home.config.queue_url);
        if let Err(error) = asked.send().await.map_err(store_error) {
            tracing::debug!(%error, "the queue did not answer at the start");
        }
    }
}

#[async_trait]
impl RunQueue for Queue {
    async fn enqueue(&self, app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError> {
        if delay > LONGEST_DELAY {
            tracing::debug!(%run, ?delay, "no message is held back so long: the run is picked up when it is due");
            return Ok(());
        }
        // Rounded up: early is worse than late.
        let seconds = i32::try_from(delay.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        self.home
            .clients
            .sqs
            .send_message()
            .queue_url(&self.home.config.queue_url)
            .message_body(run.to_string())
            .message_group_id(app.to_string())
            .set_delay_seconds((seconds > 0).then_some(seconds))
            .send()
            .await
            .map_err(store_error)?;
        Ok(())
    }
}
