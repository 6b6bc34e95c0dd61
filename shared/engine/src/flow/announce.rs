//! External calls that are not safe to repeat: they are logged before they are made.

use super::{Call, Halt, NodeError};
use runyard_runs::EventBody;

impl Call<'_> {
    /// Records that a call with external effects is about to be made, and returns its idempotency key, `run:step`, once
    /// the call may be made. Replaces [`runyard_runs::RunContext::outside`].
    ///
    /// A call that was in flight when its worker died is made once more, with the same key. If the file says
    /// `idempotent: false`, or if the second call was lost as well, the node fails instead: its outcome is unknown.
    pub(crate) async fn announce(&self) -> Result<String, Halt> {
        let Self { run, node, key, .. } = *self;
        let [first, again] = announcements(key);
        let lost = run.recorded(&first);
        // A call that was in flight in the run that this run retries keeps its key.
        let idempotency_key = lost
            .as_ref()
            .and_then(|lost| lost.journal.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("{}:{key}", run.new_run().id));
        let lost = lost.is_some();
        if lost && (!node.idempotent || run.recorded(&again).is_some()) {
            let message = "the call was in flight when its worker stopped, and its outcome is uncertain: it may \
                           have been done, in part or in full, and is not repeated";
            let error = NodeError { recoverable: true, ..NodeError::new("UncertainOutcomeError", message) };
            return Err(error.lasting().into());
        }
        let journal = Some(idempotency_key.as_str().into());
        run.record(if lost { &again } else { &first }, EventBody::RunCheckpoint, journal);
        run.outside().await?;
        Ok(idempotency_key)
    }
}

/// The journal keys of a node's first and second call.
pub(super) fn announcements(key: &str) -> [String; 2] {
    [format!("call:{key}"), format!("call:{key}:again")]
}
