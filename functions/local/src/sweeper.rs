//! The sweeper: picks up what others dropped.

use crate::plug::Plugged;
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// On one machine looking is cheap, and after a restart runs go on within 2 s.
const EACH: Duration = Duration::from_secs(1);
/// Runs of one batch.
const BATCH: usize = 256;

/// Looks at what is due, at once and then each second, until `stop`.
pub(crate) fn start(plugged: Arc<Plugged>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = interval(EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            sweep(&plugged, &stop).await;
        }
    })
}

/// Has the runs that lost their worker with the process before come first: called before new work is taken.
pub(crate) async fn resume(plugged: &Plugged) {
    if let Err(error) = plugged.service.sweep(BATCH).await {
        tracing::warn!(%error, "could not sweep at the start");
    }
}

async fn sweep(plugged: &Plugged, stop: &CancellationToken) {
    if let Err(error) = plugged.suspect_dead_workers().await {
        tracing::warn!(%error, "could not look for dead workers");
    }
    // A full batch means that more is due: after a crash there may be thousands.
    while !stop.is_cancelled() {
        match plugged.service.sweep(BATCH).await {
            Ok(swept) if swept.looked_at >= BATCH => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "could not sweep");
                return;
            }
        }
    }
}
