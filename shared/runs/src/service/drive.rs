//! Performs the operations of the protocol's machines with the ports.

use super::Ports;
use crate::{
    AppId, Create, LogRead, NewRun, RunId, StoreError, Update,
    protocol::{Machine, Next, Op, Reply},
};
use std::time::Duration;

/// Maximum number of failures in a row before a machine gives up. The waits in between add up to about 6 s.
const MAX_FAILURES: u32 = 7;

/// The run that a machine works on.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) app: AppId,
    pub(crate) run: RunId,
    /// What [`Op::Create`] stores.
    pub(crate) new: Option<&'a NewRun>,
}

impl Ports {
    /// Drives a machine to its outcome.
    pub(crate) async fn drive<M: Machine>(
        &self,
        target: Target<'_>,
        machine: &mut M,
    ) -> Result<M::Outcome, StoreError> {
        let mut patience = Patience::default();
        loop {
            let op = match machine.next(self.clock.now()) {
                Next::Done(outcome) => return Ok(outcome),
                Next::Do(op) => op,
            };
            let reply = patience.judge(self.perform(target, &op).await).await?;
            machine.reply(op, reply, self.clock.now());
        }
    }

    /// Performs one operation.
    pub(crate) async fn perform(&self, target: Target<'_>, op: &Op) -> Result<Reply, StoreError> {
        let run = target.run;
        Ok(match op {
            Op::Bind(item) => Reply::Bound(self.runs.bind(item).await?),
            Op::Create(record) => {
                let Some(new) = target.new else { return Ok(Reply::NoRun) };
                match self.runs.create(new, record).await? {
                    Create::Done => Reply::Done,
                    Create::Exists => Reply::Exists,
                }
            }
            Op::Read { from } => self.read_to_end(run, *from).await?.map_or(Reply::NoRun, Reply::Log),
            Op::Head => self.runs.head(run).await?.map_or(Reply::NoRun, Reply::Head),
            Op::Append(entry) => self.runs.append(entry).await?.into(),
            Op::Commit(entry, change, guard) => self.runs.commit(entry, change, guard).await?.into(),
            Op::Update(change, guard) => match self.runs.update(run, change, guard).await? {
                Update::Done => Reply::Done,
                Update::Refused => Reply::Refused,
            },
            Op::Enqueue { delay, resumes } => {
                if *resumes {
                    self.queue.enqueue_first(target.app, run, *delay).await?;
                } else {
                    self.queue.enqueue(target.app, run, *delay).await?;
                }
                Reply::Done
            }
        })
    }

    async fn read_to_end(&self, run: RunId, from: u64) -> Result<Option<LogRead>, StoreError> {
        let Some(mut log) = self.runs.read(run, from).await? else { return Ok(None) };
        while log.more {
            let next = log.entries.last().map_or(from, |entry| entry.last() + 1);
            let Some(rest) = self.runs.read(run, next).await? else { return Ok(None) };
            log.record = rest.record;
            log.entries.extend(rest.entries);
            log.more = rest.more;
        }
        Ok(Some(log))
    }
}

/// Counts failures of the store: turns them into [`Reply::Unknown`] after a growing wait, up to a maximum in a row.
#[derive(Clone, Copy, Default)]
pub(crate) struct Patience {
    failures: u32,
}

impl Patience {
    /// Returns the reply; [`Reply::Unknown`] after a wait if the outcome is unknown; the error if the store failed for
    /// sure, or too often in a row.
    pub(crate) async fn judge(&mut self, result: Result<Reply, StoreError>) -> Result<Reply, StoreError> {
        let error = match result {
            Ok(reply) => {
                self.failures = 0;
                return Ok(reply);
            }
            Err(error) => error,
        };
        self.failures += 1;
        if self.failures > MAX_FAILURES || matches!(error, StoreError::Failed(_)) {
            return Err(error);
        }
        tracing::warn!(%error, failures = self.failures, "store unavailable, trying again");
        tokio::time::sleep(Duration::from_millis(25 << self.failures)).await;
        Ok(Reply::Unknown)
    }
}
