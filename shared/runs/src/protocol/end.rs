//! Ending a run from outside: rules 12, 14 and 18.

use super::{Machine, Next, Op, Reply, terminal_change};
use crate::{ClaimId, ENTRY_VERSION, Entry, EventBody, Guard, Head, Logged, RunId, Timestamp};
use std::sync::Arc;

/// Ends a run from outside: a cancel, an expiry, too many lost workers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ender {
    run: RunId,
    writer: ClaimId,
    body: EventBody,
    guard: Guard,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    ReadHead,
    Commit(Arc<Entry>),
    /// The reply was lost, or the slot is taken: read which entry has it.
    Check(Arc<Entry>),
    Done(Ended),
}

/// The outcome of an [`Ender`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// This entry ended the run.
    Now(Arc<Entry>),
    /// The run had already ended.
    Before,
    /// There is no such run.
    NoRun,
    /// The guard does not hold.
    Refused,
    /// Unknown: the store did not answer. The caller may try again.
    Unknown,
}

impl Ender {
    /// Ends `run` with `body`; `writer` is an id that is not used for anything else.
    pub fn new(run: RunId, writer: ClaimId, body: EventBody) -> Self {
        Self { run, writer, body, guard: Guard::Always, step: Step::ReadHead }
    }

    /// Cancels `run`; the caller has just read its `head`.
    pub fn cancel(run: RunId, writer: ClaimId, head: &Head, now: Timestamp) -> Self {
        let mut ender = Self::new(run, writer, EventBody::RunCanceled);
        ender.step = ender.decide(head, now);
        ender
    }

    /// Ends `run` with `body` if its record is still at `rev`, on which the caller has based its decision.
    pub fn at_rev(run: RunId, writer: ClaimId, body: EventBody, rev: u64) -> Self {
        Self { guard: Guard::Rev(rev), ..Self::new(run, writer, body) }
    }

    /// Like [`Ender::at_rev`], for a caller that has based its decision on `head`, and decides again if the log has
    /// grown.
    pub fn judged(run: RunId, writer: ClaimId, body: EventBody, head: &Head, now: Timestamp) -> Self {
        let mut ender = Self::at_rev(run, writer, body, head.record.rev);
        ender.step = ender.decide(head, now);
        ender
    }

    /// Whether the log has grown, so that the caller must decide again.
    pub(super) fn is_looking(&self) -> bool {
        self.step == Step::ReadHead
    }

    fn decide(&self, head: &Head, now: Timestamp) -> Step {
        let (state, last) =
            head.last.as_ref().map_or_else(Default::default, |entry| (entry.state.clone(), entry.last()));
        if state.status.is_terminal() {
            return Step::Done(Ended::Before);
        }
        let events = vec![Logged::from(self.body.clone())];
        Step::Commit(Arc::new(Entry {
            run: self.run,
            first: last + 1,
            version: ENTRY_VERSION,
            writer: self.writer,
            nonce: last,
            at: now,
            state: state.after(self.writer, last + 1, now, &events),
            events,
        }))
    }
}

impl Machine for Ender {
    type Outcome = Ended;

    fn next(&self, _now: Timestamp) -> Next<Ended> {
        match &self.step {
            Step::ReadHead => Next::Do(Op::Head),
            Step::Commit(entry) => {
                Next::Do(Op::Commit(Arc::clone(entry), terminal_change(entry), self.guard))
            }
            Step::Check(entry) => Next::Do(Op::Read { from: entry.first }),
            Step::Done(ended) => Next::Done(ended.clone()),
        }
    }

    fn reply(&mut self, _op: Op, reply: Reply, now: Timestamp) {
        let step = std::mem::replace(&mut self.step, Step::ReadHead);
        self.step = match (step, reply) {
            (_, Reply::NoRun) => Step::Done(Ended::NoRun),
            (Step::ReadHead, Reply::Head(head)) => self.decide(&head, now),
            (Step::Commit(entry), Reply::Done) => Step::Done(Ended::Now(entry)),
            (Step::Commit(entry), Reply::Taken | Reply::Unknown) => Step::Check(entry),
            (Step::Commit(_), Reply::Refused) => Step::Done(Ended::Refused),
            (Step::Check(entry), Reply::Log(log)) => match log.entries.first() {
                None => Step::Commit(entry),
                Some(existing) if existing.is_same_append(&entry) => Step::Done(Ended::Now(entry)),
                Some(_) => Step::ReadHead,
            },
            (Step::Check(entry), Reply::Unknown) => Step::Check(entry),
            _ => Step::Done(Ended::Unknown),
        };
    }
}
