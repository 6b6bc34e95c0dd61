//! Recording a person's answer, or the expiry of a request: rule 13.

use super::{Machine, Next, Op, Reply};
use crate::{
    Answer, ClaimId, ENTRY_VERSION, Entry, EventBody, Field, Guard, Head, LogState, Logged, Pending,
    RecordChange, RequestId, RunId, Timestamp, engine::answer_key,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// Records a person's answer, or the expiry of requests, and wakes the run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answerer {
    run: RunId,
    writer: ClaimId,
    subject: Subject,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Answer {
        request: RequestId,
        /// The event `input.received` of the answer.
        body: Box<EventBody>,
        answer: Answer,
    },
    /// All requests that have expired.
    Expiry,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    ReadHead,
    Commit {
        entry: Arc<Entry>,
        owner: Option<ClaimId>,
    },
    /// The reply was lost, or the slot is taken: read which entry has it.
    Check {
        entry: Arc<Entry>,
        owner: Option<ClaimId>,
    },
    /// The owner changed: read whether the entry was written before that.
    Refused {
        entry: Arc<Entry>,
    },
    Enqueue,
    Done(Answered),
}

/// The outcome of an [`Answerer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answered {
    /// It is recorded.
    Now,
    /// The request is not pending (unknown, answered, or expired), or no request has expired.
    NotPending,
    /// The run has ended.
    Ended,
    /// There is no such run.
    NoRun,
    /// Unknown: the store did not answer. The caller may try again.
    Unknown,
}

impl Answerer {
    /// Answers `request` of `run` with the event `body`; `writer` is an id that is not used for anything else.
    pub fn new(run: RunId, writer: ClaimId, request: RequestId, body: EventBody, answer: Answer) -> Self {
        Self {
            run,
            writer,
            subject: Subject::Answer { request, body: Box::new(body), answer },
            step: Step::ReadHead,
        }
    }

    /// Records which requests of `run` have expired; the caller has just read its `head`.
    pub fn expire(run: RunId, writer: ClaimId, head: &Head, now: Timestamp) -> Self {
        let mut answerer = Self { run, writer, subject: Subject::Expiry, step: Step::ReadHead };
        answerer.step = answerer.decide(head, now);
        answerer
    }

    /// Whether the log has grown, so that the caller must decide again.
    pub(super) fn is_looking(&self) -> bool {
        self.step == Step::ReadHead
    }

    /// Returns the events to record; none if no matching request is pending.
    fn events(&self, state: &LogState, now: Timestamp) -> Vec<Logged> {
        match &self.subject {
            Subject::Answer { request, body, answer } => {
                let is_open = |pending: &&Pending| pending.request == *request && !pending.is_expired(now);
                let answered = |pending: &Pending| Logged {
                    body: (**body).clone(),
                    key: Some(answer_key(pending.request)),
                    journal: Some(answer.clone()),
                };
                state.pending.iter().find(is_open).map(answered).into_iter().collect()
            }
            Subject::Expiry => state.expired(now).map(expired).collect(),
        }
    }

    fn decide(&self, head: &Head, now: Timestamp) -> Step {
        let Some(last) = &head.last else { return Step::Done(Answered::NotPending) };
        if last.state.status.is_terminal() {
            return Step::Done(Answered::Ended);
        }
        let events = self.events(&last.state, now);
        if events.is_empty() {
            return Step::Done(Answered::NotPending);
        }
        let first = last.last() + 1;
        Step::Commit {
            owner: head.record.owner,
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

/// Returns the event of a request that expired without an answer.
pub(crate) fn expired(request: RequestId) -> Logged {
    Logged {
        body: EventBody::InputExpired { request_id: request },
        key: Some(answer_key(request)),
        journal: Some(Value::Null),
    }
}

impl Machine for Answerer {
    type Outcome = Answered;

    fn next(&self, now: Timestamp) -> Next<Answered> {
        match &self.step {
            Step::ReadHead => Next::Do(Op::Head),
            // A run that is paused or rests has no owner, so it becomes due. An owner sees the answer in the log, but
            // may release the run before that: then the guard fails and this is decided again.
            Step::Commit { entry, owner } => Next::Do(Op::Commit(
                Arc::clone(entry),
                RecordChange {
                    upto: Some(entry.last()),
                    unanswered: Some(!entry.state.pending.is_empty()),
                    due: if owner.is_none() { Field::Set(now) } else { Field::Keep },
                    ..RecordChange::default()
                },
                owner.map_or(Guard::Always, Guard::Owner),
            )),
            Step::Check { entry, .. } | Step::Refused { entry } => Next::Do(Op::Read { from: entry.first }),
            Step::Enqueue => Next::Do(Op::Enqueue { delay: Duration::ZERO, resumes: false }),
            Step::Done(answered) => Next::Done(*answered),
        }
    }

    fn reply(&mut self, _op: Op, reply: Reply, now: Timestamp) {
        let step = std::mem::replace(&mut self.step, Step::ReadHead);
        self.step = match (step, reply) {
            (_, Reply::NoRun) => Step::Done(Answered::NoRun),
            (Step::ReadHead, Reply::Head(head)) => self.decide(&head, now),
            (Step::Commit { .. }, Reply::Done) => Step::Enqueue,
            (Step::Commit { entry, .. }, Reply::Refused) => Step::Refused { entry },
            (Step::Commit { entry, owner }, Reply::Taken | Reply::Unknown) => Step::Check { entry, owner },
            (Step::Check { entry, owner }, Reply::Log(log)) => match log.entries.first() {
                None => Step::Commit { entry, owner },
                Some(existing) if existing.is_same_append(&entry) => Step::Enqueue,
                Some(_) => Step::ReadHead,
            },
            (Step::Refused { entry }, Reply::Log(log)) => match log.entries.first() {
                Some(existing) if existing.is_same_append(&entry) => Step::Enqueue,
                _ => Step::ReadHead,
            },
            (Step::Refused { entry }, Reply::Unknown) => Step::Refused { entry },
            (Step::Check { entry, owner }, Reply::Unknown) => Step::Check { entry, owner },
            // A lost message does no harm: a run without an owner is due, any other has an executor that sees the
            // answer.
            (Step::Enqueue, _) => Step::Done(Answered::Now),
            _ => Step::Done(Answered::Unknown),
        };
    }
}
