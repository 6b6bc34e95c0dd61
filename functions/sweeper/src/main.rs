//! `sweeper`: a Lambda function that requeues or ends runs that are due, every minute, and deletes what has expired.

use lambda_runtime::{LambdaEvent, run_concurrent, service_fn};
use runyard_boot::lambda;
use serde_json::{Value, json};

fn main() -> anyhow::Result<()> {
    lambda::run(|opening| {
        // The event's content does not matter: every event starts a sweep.
        run_concurrent(service_fn(move |event: LambdaEvent<Value>| {
            let opening = opening.clone();
            async move {
                let backend = opening.backend().await;
                let time = lambda::Time::of(&event.context, backend.clock.now());
                let swept = backend.sweep(time.hand_over_at).await?;
                if swept.requeued + swept.failed > 0 {
                    tracing::info!(
                        requeued = swept.requeued,
                        failed = swept.failed,
                        "requeued or failed runs that were due"
                    );
                }
                anyhow::Ok(json!({
                    "looked_at": swept.looked_at,
                    "requeued": swept.requeued,
                    "failed": swept.failed,
                    "deleted": swept.deleted,
                }))
            }
        }))
    })
    .map_err(anyhow::Error::from_boxed)
}
