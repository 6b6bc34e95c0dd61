//! Emits the events of [`MEASURES`]. Each is emitted once: by the process that wrote the entry to the log.

use super::MEASURES;
use crate::{AppId, ClaimId, Entry, EventBody, NewRun, RunId, RunStatus, Timestamp, protocol::Ended};
use std::sync::Arc;

/// Measures the entries that `claim` wrote.
pub(crate) fn written(new: &NewRun, claim: ClaimId, entries: &[Arc<Entry>]) {
    for entry in entries.iter().filter(|entry| entry.writer == claim) {
        match entry.events.first().map(|logged| &logged.body) {
            Some(EventBody::RunStarted) => claimed(new, false, Some(entry.at)),
            // A pause stops the run's clock. If the clock is already running, another worker had the run under way.
            Some(EventBody::RunResumed) => claimed(new, entry.state.since != Some(entry.at), None),
            _ => {}
        }
        if entry.state.status.is_terminal() {
            ended(new.app, new.id, entry.state.status, entry.at);
        }
    }
}

fn claimed(new: &NewRun, takeover: bool, first: Option<Timestamp>) {
    let wait_ms = first.map(|at| millis(at, new.created_at));
    tracing::debug!(target: MEASURES, measure = "claimed", app = %new.app, run = %new.id, takeover, wait_ms);
}

/// Measures a run that was ended from outside, if this outcome is what ended it.
pub(crate) fn ended_by(app: AppId, run: RunId, outcome: &Ended) {
    if let Ended::Now(entry) = outcome {
        ended(app, run, entry.state.status, entry.at);
    }
}

/// Measures a run that ended at `at`.
pub(crate) fn ended(app: AppId, run: RunId, status: RunStatus, at: Timestamp) {
    let duration_ms = run.created_at().map(|created_at| millis(at, created_at));
    let status = match status {
        RunStatus::Completed => "completed",
        RunStatus::Canceled => "canceled",
        _ => "failed",
    };
    tracing::debug!(target: MEASURES, measure = "ended", %app, %run, status, duration_ms);
}

/// Measures a run that the sweeper could not read.
pub(crate) fn unreadable(app: AppId, run: RunId) {
    tracing::debug!(target: MEASURES, measure = "unreadable", %app, %run);
}

fn millis(at: Timestamp, since: Timestamp) -> u64 {
    u64::try_from(at.since(since).as_millis()).unwrap_or(u64::MAX)
}
