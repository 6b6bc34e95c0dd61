//! `worker`: a Lambda function that executes the runs of SQS batches.
//!
//! Promises: a message whose run has ended, or is held by a live worker, is deleted. A message that names no run, or
//! whose run met a failure of the store, fails alone and is redelivered, until SQS moves it to the dead-letter queue.

mod batch;

use batch::Batch;
use lambda_runtime::{LambdaEvent, run_concurrent, service_fn};
use runyard_boot::{lambda, traces};

fn main() -> anyhow::Result<()> {
    runyard_boot::enter_sandbox_if_asked();
    lambda::run(|opening| {
        run_concurrent(service_fn(move |event: LambdaEvent<Batch>| {
            let opening = opening.clone();
            async move {
                let backend = opening.backend().await;
                let time = lambda::Time::of(&event.context, backend.clock.now());
                let response = event.payload.work(&backend.service.until(time.hand_over_at)).await;
                traces::flush().await;
                anyhow::Ok(response)
            }
        }))
    })
    .map_err(anyhow::Error::from_boxed)
}
