//! The worker: takes runs from the queue and executes them.

use runyard_embedded::Queue;
use runyard_runs::RunService;
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One in this many workers is kept free of any single app: with 64 workers, one app executes at most 48 runs.
const RESERVED_DIVISOR: usize = 4;

/// Executes up to `workers` runs at a time until `stop`. [`RunService::shut_down`] hands over those still executing.
pub(crate) fn start(
    service: RunService,
    queue: Arc<Queue>,
    workers: usize,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(workers.max(1)));
        let max_per_app = max_per_app(workers);
        let runs = TaskTracker::new();
        loop {
            // Take a permit before a run: a run that waits in the queue can be taken by another process.
            let permit = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                permit = Arc::clone(&permits).acquire_owned() => permit,
            };
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = queue.take(max_per_app) => taken,
            };
            let service = service.clone();
            runs.spawn(async move {
                let run = taken.run();
                if let Err(error) = service.work(run).await {
                    // The run keeps its `due`: the sweeper requeues it.
                    tracing::warn!(%run, %error, "run not executed: the sweeper requeues it");
                }
                drop((taken, permit));
            });
        }
        runs.close();
        runs.wait().await;
    })
}

/// How many of the workers one app may use at a time.
fn max_per_app(workers: usize) -> usize {
    workers.saturating_sub(workers.div_ceil(RESERVED_DIVISOR)).max(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_app_leaves_workers_to_others() {
        let limits = [1, 2, 3, 4, 16, 64].map(super::max_per_app);
        assert_eq!(limits, [1, 1, 2, 3, 12, 48]);
    }
}
