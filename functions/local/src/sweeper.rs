//! The sweeper: requeues or ends runs that are due.

use crate::plug::Plugged;
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// How often to sweep: on one machine a sweep is cheap, and after a restart runs resume within 2 s.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Runs per batch.
const BATCH: usize = 256;

/// Sweeps at once and then every second, until `stop`.
pub(crate) fn start(plugged: Arc<Plugged>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = interval(SWEEP_INTERVAL);
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

/// Requeues the runs that lost their worker with the previous process. Called before new work is taken, so that they
/// come first.
pub(crate) async fn resume(plugged: &Plugged) {
    if let Err(error) = plugged.service.sweep(BATCH).await {
        tracing::warn!(%error, "first sweep failed");
    }
}

async fn sweep(plugged: &Plugged, stop: &CancellationToken) {
    if let Err(error) = plugged.suspect_dead_workers().await {
        tracing::warn!(%error, "check for lost workers failed");
    }
    // A full batch means that more is due: after a crash there may be thousands.
    while !stop.is_cancelled() {
        match plugged.service.sweep(BATCH).await {
            Ok(swept) if swept.looked_at >= BATCH => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "sweep failed");
                return;
            }
        }
    }
}
