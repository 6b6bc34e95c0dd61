//! The worker: takes runs from the queue and executes them.

use runyard_embedded::Queue;
use runyard_runs::RunService;
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The part of the workers that no app has alone: with 64 workers, one app executes 48 runs at most.
const OTHERS: usize = 4;

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
        let most = most_of_one_app(workers);
        let runs = TaskTracker::new();
        loop {
            // A place first: a run that waits in the queue is nobody's, one that waits here would be ours.
            let place = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = queue.take(most) => taken,
            };
            let service = service.clone();
            runs.spawn(async move {
                let run = taken.run();
                if let Err(error) = service.work(run).await {
                    // The run keeps its `due`: the sweeper brings it again.
                    tracing::warn!(%run, %error, "could not execute a run");
                }
                drop((taken, place));
            });
        }
        runs.close();
        runs.wait().await;
    })
}

/// How many of the workers one app may have at a time.
fn most_of_one_app(workers: usize) -> usize {
    workers.saturating_sub(workers.div_ceil(OTHERS)).max(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_app_leaves_workers_to_others() {
        let most = [1, 2, 3, 4, 16, 64].map(super::most_of_one_app);
        assert_eq!(most, [1, 1, 2, 3, 12, 48]);
    }
}
