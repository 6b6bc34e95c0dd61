//! A batch of messages, and the outcome of each.

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use runyard_runs::{RunId, RunService};
use serde::Deserialize;

/// A batch that SQS delivers.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Batch(SqsEvent);

impl Batch {
    /// Executes the runs concurrently; returns the messages to redeliver.
    pub(crate) async fn work(self, service: &RunService) -> SqsBatchResponse {
        let failed = join_all(self.0.records.into_iter().map(|message| work(service, message))).await;
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed.into_iter().flatten().collect();
        response
    }
}

async fn work(service: &RunService, message: SqsMessage) -> Option<BatchItemFailure> {
    let body = message.body.as_deref().unwrap_or_default().trim();
    let Ok(run) = body.parse::<RunId>() else {
        tracing::error!(id = message.message_id, "message names no run: the dead-letter queue will get it");
        return Some(failure(message));
    };
    if let Err(error) = service.work(run).await {
        // The run keeps its `due`: the sweeper would requeue it too, but later.
        tracing::warn!(%run, %error, "run not executed: its message will be redelivered");
        return Some(failure(message));
    }
    None
}

fn failure(message: SqsMessage) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = message.message_id.unwrap_or_default();
    failure
}
