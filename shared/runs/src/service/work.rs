//! What a worker does with a message from the queue.

use super::{
    Live, RunService, Seat,
    drive::Target,
    measure,
    suspects::{Admission, Place},
};
use crate::{
    EventBody, RunError, RunId, StoreError,
    protocol::{self, Ender, Stop, Writer},
};
use std::{sync::Arc, time::Duration};

/// How far away a moment is for which a run is left that holds a worker: others need it meanwhile.
const RESTS_FROM: Duration = Duration::from_secs(1);

/// How long a run waits whose app executes as many runs as it may, or for which there is no memory.
const WAIT_FOR_SLOT: Duration = Duration::from_millis(250);

impl RunService {
    /// Executes one run as far as it goes here. Gives nothing: whatever comes of it stands in the log.
    ///
    /// An error means that the store failed and the message should come again; a run that has ended, is held by
    /// somebody alive, or waits for a person is simply done.
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
            return self.ports.queue.enqueue(app.id, run, WAIT_FOR_SLOT).await;
        };
        let place = match self.suspects.admit(run, attempts) {
            Admission::Go(place) => place,
            Admission::Wait(time) => return self.ports.queue.enqueue_first(app.id, run, time).await,
            Admission::Waits => return Ok(()),
        };
        let mut writer = Writer::open(run, self.new_claim(), new.expires_at);
        if place.as_ref().is_some_and(Place::is_alone) {
            writer = writer.alone();
        }
        let seat = Seat { slot, place, rests_from: RESTS_FROM };
        match self.execute(&app, new, writer, Arc::new(Live::default()), false, seat).await {
            // It lost a worker since we looked at it.
            Ok(Ok(writer)) if writer.stopped() == Some(&Stop::Suspected) => {
                self.ports.queue.enqueue_first(app.id, run, WAIT_FOR_SLOT).await
            }
            Ok(result) => result.map(|_| ()),
            Err(error) => Err(StoreError::Failed(error.into())),
        }
    }
}
