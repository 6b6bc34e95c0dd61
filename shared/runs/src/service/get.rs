//! `GET /v1/runs/{run_id}`: one run.

use super::RunService;
use crate::{App, Entry, EventBody, LogState, Run, RunId, StoreError, StoredRun};

/// Why a run was not returned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such run of this app.
    #[error("no such run")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunService {
    /// Returns one run of an app, in the state of its log. Costs one read; while a question is open, at least one more.
    pub async fn get(&self, app: &App, id: RunId) -> Result<Run, Error> {
        let stored = self.ports.runs.get(id).await?.filter(|stored| stored.new.app == app.id);
        Ok(self.run_of(stored.ok_or(Error::NotFound)?).await?)
    }

    /// Returns a stored run as callers see it, with its unanswered questions.
    pub(crate) async fn run_of(&self, stored: StoredRun) -> Result<Run, StoreError> {
        let pending = stored.last.as_ref().map(|last| last.state.pending.clone()).unwrap_or_default();
        let mut run = Run::created(stored.new);
        if let Some(last) = stored.last {
            run.update(&last);
        }
        let mut next = pending.first().map(|pending| pending.sequence);
        while let Some(from) = next {
            let Some(log) = self.ports.runs.read(run.new.id, from).await? else { break };
            next = log.entries.last().map(|last| last.last() + 1).filter(|_| log.more);
            let events = log.entries.into_iter().flat_map(|entry| entry.events);
            let asked = events.filter_map(|logged| logged.body.request().cloned());
            run.input_requests
                .extend(asked.filter(|request| pending.iter().any(|pending| pending.request == request.id)));
            if run.input_requests.len() == pending.len() {
                break;
            }
        }
        Ok(run)
    }
}

impl Run {
    /// Updates the run to its state after the last entry of its log.
    pub(crate) fn update(&mut self, last: &Entry) {
        let LogState { status, usage, .. } = &last.state;
        self.status = *status;
        self.usage = usage.clone();
        self.ended_at = status.is_terminal().then_some(last.at);
        match last.events.last().map(|logged| &logged.body) {
            Some(EventBody::RunCompleted { output }) => self.output = Some(output.clone()),
            Some(EventBody::RunFailed { error }) => self.error = Some(error.clone()),
            _ => {}
        }
    }
}
