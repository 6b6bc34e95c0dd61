//! Recording a person's answer: rule 13.

use super::{Machine, Next, Op, Reply};
use crate::{
    Answer, ClaimId, ENTRY_VERSION, Entry, EventBody, Field, Guard, Head, InputRequestKind, Logged,
    RecordChange, RequestId, RunId, RunStatus, Timestamp, engine::answer_key,
};
use std::{sync::Arc, time::Duration};

/// Records a person's answer and wakes the run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answerer {
    run: RunId,
    writer: ClaimId,
    request: RequestId,
    kind: InputRequestKind,
    answer: Answer,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Look,
    Commit { entry: Arc<Entry>, wake: bool },
    Check { entry: Arc<Entry>, wake: bool },
    Enqueue,
    Done(Answered),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answered {
    /// The answer is recorded.
    Now,
    /// The request is not pending: unknown, or answered.
    NotPending,
    /// The run has ended.
    Ended,
    /// There is no such run.
    NoRun,
    /// The store did not answer: ask again.
    Unknown,
}

impl Answerer {
    /// Answers `request` of `run`; `writer` is an id used for nothing else.
    pub fn new(
        run: RunId,
        writer: ClaimId,
        request: RequestId,
        kind: InputRequestKind,
        answer: Answer,
    ) -> Self {
        Self { run, writer, request, kind, answer, step: Step::Look }
    }

    fn decide(&self, head: &Head, now: Timestamp) -> Step {
        let Some(last) = &head.last else { return Step::Done(Answered::NotPending) };
        if last.state.status.is_terminal() {
            return Step::Done(Answered::Ended);
        }
        if !last.state.pending.iter().any(|(id, _)| *id == self.request) {
            return Step::Done(Answered::NotPending);
        }
        let events = vec![Logged {
            body: EventBody::InputReceived { request_id: self.request, kind: self.kind },
            key: Some(answer_key(self.request)),
            journal: Some(self.answer.clone()),
        }];
        let first = last.last() + 1;
        Step::Commit {
            wake: last.state.status == RunStatus::Paused,
            entry: Arc::new(Entry {
                run: self.run,
                first,
                version: ENTRY_VERSION,
                writer: self.writer,
                nonce: first,
                at: now,
                state: last.state.after(self.writer, first, now, &events),
                events,
            }),
        }
    }
}

impl Machine for Answerer {
    type Outcome = Answered;

    fn next(&self, now: Timestamp) -> Next<Answered> {
        match &self.step {
            Step::Look => Next::Do(Op::Head),
            Step::Commit { entry, wake } => Next::Do(Op::Commit(
                Arc::clone(entry),
                RecordChange {
                    upto: Some(entry.last()),
                    unanswered: Some(!entry.state.pending.is_empty()),
                    due: if *wake { Field::Set(now) } else { Field::Keep },
                    ..RecordChange::default()
                },
                Guard::Always,
            )),
            Step::Check { entry, .. } => Next::Do(Op::Read { from: entry.first }),
            Step::Enqueue => Next::Do(Op::Enqueue { delay: Duration::ZERO }),
            Step::Done(answered) => Next::Done(*answered),
        }
    }

    fn reply(&mut self, _op: Op, reply: Reply, now: Timestamp) {
        let step = std::mem::replace(&mut self.step, Step::Look);
        self.step = match (step, reply) {
            (_, Reply::NoRun) => Step::Done(Answered::NoRun),
            (Step::Look, Reply::Head(head)) => self.decide(&head, now),
            (Step::Commit { .. }, Reply::Done) => Step::Enqueue,
            (Step::Commit { entry, wake }, Reply::Taken | Reply::Unknown) => Step::Check { entry, wake },
            (Step::Check { entry, wake }, Reply::Log(log)) => match log.entries.first() {
                None => Step::Commit { entry, wake },
                Some(there) if there.is_same_append(&entry) => Step::Enqueue,
                Some(_) => Step::Look,
            },
            (Step::Check { entry, wake }, Reply::Unknown) => Step::Check { entry, wake },
            // Lost or not: a paused run is due, any other has an executor that sees the answer.
            (Step::Enqueue, _) => Step::Done(Answered::Now),
            _ => Step::Done(Answered::Unknown),
        };
    }
}
