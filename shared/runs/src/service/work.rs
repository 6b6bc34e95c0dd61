//! What a worker does with a message from the queue.

use super::{
    ExecutionPlace, Live, RunService,
    drive::Target,
    measure,
    suspects::{Admission, ProbationPlace},
};
use crate::{
    EventBody, RunError, RunId, StoreError,
    protocol::{self, Ender, Stop, Writer},
};
use std::{sync::Arc, time::Duration};

/// Minimum duration of a rest: other runs can use the worker in the meantime.
const MIN_REST: Duration = Duration::from_secs(1);

/// How long a run is delayed if its app has reached its limit of concurrent runs, or no memory is left.
const WAIT_FOR_PERMIT: Duration = Duration::from_millis(250);

impl RunService {
    /// Executes one run as far as possible. Returns nothing: the result is in the log.
    ///
    /// An error means that the store failed and the message should be delivered again. Returns `Ok` for a run that has
    /// ended, is executed by another worker, or waits for a person.
    pub async fn work(&self, run: RunId) -> Result<(), StoreError> {
        if self.is_shutting_down() {
            return Ok(());
        }
        let stored = self.ports.runs.get(run).await?.filter(|stored| !stored.record.status.is_terminal());
        let Some(stored) = stored else {
            self.suspects.forget(run);
            return Ok(());
        };
        let state = stored.last.map(|entry| entry.state).unwrap_or_default();
        let attempts = protocol::attempts(&state, &stored.record);
        let new = Arc::new(stored.new);
        let Some(app) = self.ports.apps.version(new.app, &new.app_version).await? else {
            let message = format!("version {} of the app is gone; deploy it again", new.app_version);
            let body = EventBody::RunFailed { error: RunError::new("app_not_found", message) };
            let target = Target { app: new.app, run, new: None };
            let ended = self.ports.drive(target, &mut Ender::new(run, self.new_claim(), body)).await?;
            measure::ended_by(new.app, run, &ended);
            return Ok(());
        };
        let memory = self.take_memory(&app, &new.input).ok();
        let Some(slot) = memory.and_then(|memory| self.slots.take(&app, memory)) else {
            return self.ports.queue.enqueue(app.id, run, WAIT_FOR_PERMIT).await;
        };
        let place = match self.suspects.admit(run, attempts) {
            Admission::Go(place) => place,
            Admission::Wait(time) => return self.ports.queue.enqueue_first(app.id, run, time).await,
            Admission::Waits => return Ok(()),
        };
        let mut writer = Writer::open(run, self.new_claim(), new.expires_at);
        if place.as_ref().is_some_and(ProbationPlace::is_alone) {
            writer = writer.alone();
        }
        let seat = ExecutionPlace { slot, place, rests_from: MIN_REST };
        match self.execute(&app, new, writer, Arc::new(Live::default()), false, seat).await {
            // It has lost a worker since its record was read.
            Ok(Ok(writer)) if writer.stopped() == Some(&Stop::Suspected) => {
                self.ports.queue.enqueue_first(app.id, run, WAIT_FOR_PERMIT).await
            }
            Ok(result) => result.map(|_| ()),
            Err(error) => Err(StoreError::Failed(error.into())),
        }
    }
}
