//! A batch of messages, and what came of each.

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use runyard_runs::{RunId, RunService};
use serde::Deserialize;

/// What SQS delivers.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Batch(SqsEvent);

impl Batch {
    /// Executes the runs, all at the same time; gives the messages that are to come again.
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
        tracing::error!(id = message.message_id, "a message names no run: the queue will put it aside");
        return Some(failure(message));
    };
    if let Err(error) = service.work(run).await {
        // The run keeps its `due`: the sweeper would bring it as well, but later.
        tracing::warn!(%run, %error, "could not execute a run: its message comes again");
        return Some(failure(message));
    }
    None
}

fn failure(message: SqsMessage) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = message.message_id.unwrap_or_default();
    failure
}
