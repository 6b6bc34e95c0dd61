//! Accepting a run: rule 2, and idempotency.

use super::{LEASE, Machine, Next, Op, Reply};
use crate::{ClaimId, IdempotencyItem, Record, RunId, RunStatus, Timestamp};
use std::time::Duration;

/// Accepts a run, once per idempotency key.
///
/// The key is bound before the run is created. If the process dies in between, a repeated request finds the key but no
/// run, and creates the run under the id that the key is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Creator {
    run: RunId,
    owner: Option<ClaimId>,
    idempotency: Option<IdempotencyItem>,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Bind,
    Create {
        again: bool,
    },
    /// The run exists, and the reply to the first attempt was lost: read whether this request created it.
    CheckOwner,
    Enqueue,
    Done(Outcome),
}

/// The outcome of a request to create a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// This request created the run.
    Created(RunId),
    /// An earlier request with the same key and content created this run.
    Replayed(RunId),
    /// The key belongs to another request, which created this run.
    Conflict(RunId),
    /// Unknown: the store did not answer. The caller may try again.
    Unknown,
}

impl Creator {
    /// Accepts `run`. An `owner` is a claim that holds the lease from the start; without one, the run is enqueued.
    pub fn new(run: RunId, owner: Option<ClaimId>, idempotency: Option<IdempotencyItem>) -> Self {
        let step = if idempotency.is_some() { Step::Bind } else { Step::Create { again: false } };
        Self { run, owner, idempotency, step }
    }

    /// The run that is being created: once the key is bound, the run that it is bound to.
    pub fn run(&self) -> RunId {
        self.run
    }
}

impl Machine for Creator {
    type Outcome = Outcome;

    fn next(&self, now: Timestamp) -> Next<Outcome> {
        match &self.step {
            Step::Bind => match &self.idempotency {
                Some(item) => Next::Do(Op::Bind(item.clone())),
                None => Next::Done(Outcome::Unknown),
            },
            Step::Create { .. } => Next::Do(Op::Create(Record {
                upto: 0,
                status: RunStatus::Created,
                unanswered: false,
                ended_at: None,
                owner: self.owner,
                due: Some(now + LEASE),
                attempts: 0,
                attempts_at: 0,
                rev: 0,
            })),
            Step::CheckOwner => Next::Do(Op::Head),
            Step::Enqueue => Next::Do(Op::Enqueue { delay: Duration::ZERO, resumes: false }),
            Step::Done(outcome) => Next::Done(*outcome),
        }
    }

    fn reply(&mut self, _op: Op, reply: Reply, _now: Timestamp) {
        self.step = match (&self.step, reply) {
            (Step::Bind, Reply::Bound(bound)) => match &self.idempotency {
                Some(item) if item.request != bound.request => Step::Done(Outcome::Conflict(bound.run)),
                _ => {
                    self.run = bound.run;
                    Step::Create { again: false }
                }
            },
            (Step::Create { .. }, Reply::Done) if self.owner.is_none() => Step::Enqueue,
            (Step::Create { .. }, Reply::Done) => Step::Done(Outcome::Created(self.run)),
            (Step::Create { again: true }, Reply::Exists) if self.owner.is_some() => Step::CheckOwner,
            // Whether or not this request created it: an extra message does no harm.
            (Step::Create { again: true }, Reply::Exists) => Step::Enqueue,
            (Step::CheckOwner, Reply::Head(head)) if head.record.owner == self.owner => {
                Step::Done(Outcome::Created(self.run))
            }
            (Step::CheckOwner, Reply::Head(_)) => Step::Done(Outcome::Replayed(self.run)),
            (Step::Create { .. }, Reply::Exists) => Step::Done(Outcome::Replayed(self.run)),
            (Step::Create { again: false }, Reply::Unknown) => Step::Create { again: true },
            // A lost message does no harm: the run is due.
            (Step::Enqueue, _) => Step::Done(Outcome::Created(self.run)),
            _ => Step::Done(Outcome::Unknown),
        };
    }
}
