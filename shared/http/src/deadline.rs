//! The time that a platform gives a request.

use http::Extensions;
use runyard_runs::{Clock, RunService, Timestamp};
use std::time::Duration;

/// When a request must have ended: a request extension, for servers whose platform ends requests, as Lambda does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When a run that the request executes is handed over to a worker, and a stream ends so that its client reconnects.
    pub hand_over_at: Timestamp,
    /// When a caller that still waits for a run gets it in its current state.
    pub answer_by: Timestamp,
}

impl Deadline {
    /// Returns the deadline of a request, if it has one.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}

/// Returns `service`, limited to the deadline of a request.
pub(crate) fn limited(service: &RunService, deadline: Option<Deadline>) -> RunService {
    deadline.map_or_else(|| service.clone(), |deadline| service.until(deadline.hand_over_at))
}

/// Returns how long a caller waits: `wanted`, but not beyond the deadline.
pub(crate) fn wait(clock: &dyn Clock, wanted: Duration, deadline: Option<Deadline>) -> Duration {
    deadline.map_or(wanted, |deadline| wanted.min(deadline.answer_by.since(clock.now())))
}
