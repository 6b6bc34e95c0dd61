//! Handling a run that is due: rules 17 and 18.

use super::{
    Answered, Answerer, Ended, Ender, LEASE, Machine, Next, Op, Reply, SUSPECT, UNOWNED, attempts, one_more,
    terminal_change, verdict, wakes_at,
};
use crate::{ClaimId, Field, Guard, Head, RecordChange, RunId, Timestamp};
use std::time::Duration;

/// Handles one run that is due: enqueues it for a worker, ends it, or repairs its record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sweep {
    run: RunId,
    writer: ClaimId,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    ReadHead,
    Update { change: RecordChange, rev: u64, then: After },
    End(Ender),
    Expire(Answerer),
    Enqueue { delay: Duration, resumes: bool },
    Done(Swept),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum After {
    Enqueue { delay: Duration, resumes: bool },
    Done(Swept),
}

/// The outcome of a [`Sweep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swept {
    /// The run was enqueued for a worker.
    Requeued,
    /// The run was ended as failed.
    Failed,
    /// The run has ended or waits for a person; its record was brought up to date.
    Repaired,
    /// There was nothing to do, or another participant did it.
    Nothing,
}

impl Sweep {
    /// Handles `run`; `writer` is an id that is not used for anything else.
    pub fn new(run: RunId, writer: ClaimId) -> Self {
        Self { run, writer, step: Step::ReadHead }
    }

    fn decide(&self, head: &Head, now: Timestamp) -> Step {
        let record = &head.record;
        if record.due.is_none_or(|due| due > now) {
            return Step::Done(Swept::Nothing);
        }
        let state = head.last.as_ref().map(|entry| entry.state.clone()).unwrap_or_default();
        if let Some(last) = head.last.as_ref().filter(|_| state.status.is_terminal()) {
            let change = terminal_change(last);
            return Step::Update { change, rev: record.rev, then: After::Done(Swept::Repaired) };
        }
        // A run without an owner has not lost a worker: it was never enqueued, waits in a long queue or for a person,
        // or rests.
        let taken = record.owner.is_some();
        let before = attempts(&state, record);
        let attempts = if taken { one_more(before) } else { before };
        if let Some(body) = verdict(&state, attempts, head.expires_at, now) {
            return Step::End(Ender::judged(self.run, self.writer, body, head, now));
        }
        if state.is_asleep() {
            if state.expired(now).next().is_some() {
                return Step::Expire(Answerer::expire(self.run, self.writer, head, now));
            }
            let change = RecordChange {
                status: Some(state.status),
                unanswered: Some(!state.pending.is_empty()),
                owner: Field::Clear,
                due: Field::Set(wakes_at(&state, None, head.expires_at)),
                ..RecordChange::default()
            };
            return Step::Update { change, rev: record.rev, then: After::Done(Swept::Repaired) };
        }
        // With `UNOWNED`, the next worker claims the run first, so that the losses of a run that kills its workers are
        // counted.
        let (attempts, delay, lease) = if taken {
            (attempts, back_off(attempts), LEASE)
        } else {
            (attempts.max(UNOWNED), Duration::ZERO, LEASE * 5)
        };
        let change = RecordChange {
            owner: Field::Clear,
            due: Field::Set(now + delay + lease),
            attempts: Some((attempts, state.journaled)),
            ..RecordChange::default()
        };
        Step::Update { change, rev: record.rev, then: After::Enqueue { delay, resumes: taken } }
    }
}

/// How long a takeover is delayed: the first is not, those of a suspect back off.
fn back_off(attempts: u32) -> Duration {
    Duration::from_secs(match attempts.checked_sub(SUSPECT) {
        None => 0,
        Some(0) => 1,
        Some(1) => 5,
        Some(_) => 20,
    })
}

impl Machine for Sweep {
    type Outcome = Swept;

    fn next(&self, now: Timestamp) -> Next<Swept> {
        match &self.step {
            Step::ReadHead => Next::Do(Op::Head),
            Step::Update { change, rev, .. } => Next::Do(Op::Update(change.clone(), Guard::Rev(*rev))),
            Step::End(ender) => match ender.next(now) {
                Next::Do(op) => Next::Do(op),
                Next::Done(Ended::Now(_)) => Next::Done(Swept::Failed),
                Next::Done(_) => Next::Done(Swept::Nothing),
            },
            Step::Expire(answerer) => match answerer.next(now) {
                Next::Do(op) => Next::Do(op),
                Next::Done(Answered::Now) => Next::Done(Swept::Requeued),
                Next::Done(_) => Next::Done(Swept::Nothing),
            },
            Step::Enqueue { delay, resumes } => Next::Do(Op::Enqueue { delay: *delay, resumes: *resumes }),
            Step::Done(swept) => Next::Done(*swept),
        }
    }

    fn reply(&mut self, op: Op, reply: Reply, now: Timestamp) {
        let step = std::mem::replace(&mut self.step, Step::ReadHead);
        self.step = match (step, reply) {
            (Step::ReadHead, Reply::Head(head)) => self.decide(&head, now),
            (Step::Update { then, .. }, Reply::Done) => match then {
                After::Enqueue { delay, resumes } => Step::Enqueue { delay, resumes },
                After::Done(swept) => Step::Done(swept),
            },
            (Step::End(mut ender), reply) => {
                ender.reply(op, reply, now);
                if ender.is_looking() { Step::ReadHead } else { Step::End(ender) }
            }
            (Step::Expire(mut answerer), reply) => {
                answerer.reply(op, reply, now);
                if answerer.is_looking() { Step::ReadHead } else { Step::Expire(answerer) }
            }
            // A lost message does no harm: the run is due.
            (Step::Enqueue { .. }, _) => Step::Done(Swept::Requeued),
            // Refused: another participant has changed the record. Unknown: the run is still due, or the update was
            // done.
            _ => Step::Done(Swept::Nothing),
        };
    }
}
