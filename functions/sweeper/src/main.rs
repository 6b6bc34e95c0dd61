//! `sweeper`: a Lambda function that looks each minute at what is due, and has a worker look at it or ends it; and deletes
//! what has expired.

use lambda_runtime::{LambdaEvent, run_concurrent, service_fn};
use runyard_boot::lambda;
use serde_json::{Value, json};

fn main() -> anyhow::Result<()> {
    lambda::run(|opening| {
        // Whatever the event says, it means: now.
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
                        "picked up what others dropped"
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
