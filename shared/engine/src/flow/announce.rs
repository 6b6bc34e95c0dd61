//! Calls outside that are not harmless to repeat: in the log before they are made.

use super::{Call, Halt, NodeError};
use runyard_runs::EventBody;

impl Call<'_> {
    /// Returns when a call may be made that changes something outside, with its idempotency key, `run:step`. In place of
    /// [`runyard_runs::RunContext::outside`].
    ///
    /// A call that was in flight when its worker died is made once more, with the same key. If the file says
    /// `idempotent: false`, or the second was lost as well, the node fails instead: nobody knows what became of it.
    pub(crate) async fn announce(&self) -> Result<String, Halt> {
        let Self { run, node, key, .. } = *self;
        let (first, again) = (format!("call:{key}"), format!("call:{key}:again"));
        let lost = run.recorded(&first).is_some();
        if lost && (!node.idempotent || run.recorded(&again).is_some()) {
            let message = "the call was in flight when its worker stopped, and its outcome is uncertain: it may \
                           have been done, in part or in full, and is not repeated";
            let error = NodeError { recoverable: true, ..NodeError::new("UncertainOutcomeError", message) };
            return Err(error.lasting().into());
        }
        run.record(if lost { &again } else { &first }, EventBody::RunCheckpoint, None);
        run.outside().await?;
        Ok(format!("{}:{key}", run.new_run().id))
    }
}
