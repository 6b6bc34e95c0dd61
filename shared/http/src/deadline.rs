//! What a platform tells of the time that a request has.

use http::Extensions;
use runyard_runs::{Clock, RunService, Timestamp};
use std::time::Duration;

/// When a request must be over, as an extension of it; for a server whose platform ends requests, as Lambda does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Then a run that the request executes is handed over to a worker, and a stream ends for its client to come back.
    pub hand_over_at: Timestamp,
    /// Then a caller who still waits for a run gets it as it stands.
    pub answer_by: Timestamp,
}

impl Deadline {
    /// The deadline of a request, if it has one.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}

/// `service`, for a request with this deadline.
pub(crate) fn limited(service: &RunService, deadline: Option<Deadline>) -> RunService {
    deadline.map_or_else(|| service.clone(), |deadline| service.until(deadline.hand_over_at))
}

/// How long a caller may be kept waiting who would wait for `wanted`.
pub(crate) fn wait(clock: &dyn Clock, wanted: Duration, deadline: Option<Deadline>) -> Duration {
    deadline.map_or(wanted, |deadline| wanted.min(deadline.answer_by.since(clock.now())))
}
