//! The worker: takes runs from the queue and executes them.

use runyard_embedded::Queue;
use runyard_runs::RunService;
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Executes up to `workers` runs at a time until `stop`. Those under way then are handed over by
/// [`RunService::shut_down`].
pub(crate) fn start(
    service: RunService,
    queue: Arc<Queue>,
    workers: usize,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(workers.max(1)));
        let runs = TaskTracker::new();
        loop {
            // A place first: a run that waits in the queue is nobody's, one that waits here would be ours.
            let place = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let run = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                (_, run) = queue.receive() => run,
            };
            let service = service.clone();
            runs.spawn(async move {
                if let Err(error) = service.work(run).await {
                    // The run keeps its `due`: the sweeper brings it again.
                    tracing::warn!(%run, %error, "could not execute a run");
                }
                drop(place);
            });
        }
        runs.close();
        runs.wait().await;
    })
}
