//! `GET /v1/runs/{run_id}/events` and `…/stream`: what happened.

use super::{App, RunService, create::Created, get::Error};
use crate::{RunEvent, RunId, Sequence, StoreError};
use futures::stream::BoxStream;

/// A page of events.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<RunEvent>,
    /// How many there are on all pages.
    pub total_count: u64,
}

impl RunService {
    /// A page of a run's events: `page` from 1, `page_size` up to 100, in sequence order or against it.
    pub async fn events(
        &self,
        app: &App,
        id: RunId,
        page: u64,
        page_size: u32,
        descending: bool,
    ) -> Result<EventPage, Error> {
        let _ = (app, id, page, page_size, descending);
        todo!()
    }

    /// The events of a run after `after` (0: all), as they happen, ending after the terminal one. Only what is on disk.
    pub async fn follow(
        &self,
        app: &App,
        id: RunId,
        after: Sequence,
    ) -> Result<BoxStream<'static, Result<RunEvent, StoreError>>, Error> {
        let _ = (app, id, after);
        todo!()
    }

    /// [`RunService::follow`] from the start, for a run that was just created.
    pub fn follow_created(&self, created: Created) -> BoxStream<'static, Result<RunEvent, StoreError>> {
        let _ = created;
        todo!()
    }
}
