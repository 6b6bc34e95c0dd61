//! The queue.

use crate::{aws::Shared, error::store_error};
use async_trait::async_trait;
use runyard_runs::{AppId, RunId, RunQueue, StoreError};
use std::{sync::Arc, time::Duration};

/// The longest delay of a message in SQS.
const MAX_DELAY: Duration = Duration::from_mins(15);

/// [`RunQueue`] on an SQS standard queue.
///
/// A message is a hint. Its body is the run's id and nothing else. Its group is the app, so that SQS delivers runs of
/// apps with few runs before the backlog of an app with many (fair queues). One request sends it.
///
/// SQS delays a message by at most 900 s. For a longer delay nothing is sent: the sweeper enqueues the run when it is
/// `due`, whereas a message that is delivered early makes a worker read the run and find nothing to do.
pub struct Queue {
    home: Arc<Shared>,
}

impl Queue {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home }
    }

    /// Opens a connection.
    pub(crate) async fn warm(&self) {
        let request = self.home.clients.sqs.get_queue_attributes().queue_url(&self.home.config.queue_url);
        if let Err(error) = request.send().await.map_err(store_error) {
            tracing::debug!(%error, "the queue did not answer at startup");
        }
    }
}

#[async_trait]
impl RunQueue for Queue {
    async fn enqueue(&self, app: AppId, run: RunId, delay: Duration) -> Result<(), StoreError> {
        if delay > MAX_DELAY {
            tracing::debug!(%run, ?delay, "no message sent, the delay is too long: the sweeper enqueues the run");
            return Ok(());
        }
        // Rounded up: an early message is worse than a late one.
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
