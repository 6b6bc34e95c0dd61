//! Who may append what to a run's log: the design's rules, without any I/O.
//!
//! Each participant is a small machine. [`Machine::next`] says what it wants of the store, [`Machine::reply`] takes the
//! answer. The service drives them against the ports; the model (`tests/model`) drives the same code against a simulated
//! store and every order of events that can happen there.
//!
//! | machine | what |
//! | --- | --- |
//! | [`Creator`] | accepts a run, once for an idempotency key |
//! | [`Writer`] | one attempt to execute a run: claim, append, pause, rest, end, hand over |
//! | [`Ender`] | ends a run from outside: cancel, expiry, too many lost workers |
//! | [`Answerer`] | records a person's answer, or that none came in time, and wakes the run |
//! | [`Sweep`] | looks at one run that is due |

mod answer;
mod create;
mod end;
mod sweep;
mod writer;

pub(crate) use answer::expired;
pub use answer::{Answered, Answerer};
pub use create::{Creator, Outcome as CreateOutcome};
pub use end::{Ended, Ender};
pub use sweep::{Sweep, Swept};
pub use writer::{Stop, Writer};

use crate::{
    Append, Entry, EventBody, Field, Guard, Head, IdempotencyItem, LogRead, LogState, Record, RecordChange,
    RunError, Sequence, Timestamp,
};
use std::{sync::Arc, time::Duration};

/// How long a lease lasts without renewal.
pub const LEASE: Duration = Duration::from_mins(1);

/// How often a lease is renewed.
pub const RENEWAL: Duration = Duration::from_secs(20);

/// [`Record::attempts`] from which on a run is a suspect: it has lost two workers. Either of them may have died of
/// another run, so from here on it is executed apart from everything else that has lost a worker.
pub const SUSPECT: u32 = LOST_ONE + 1;

/// [`Record::attempts`] at which the run fails with `worker_lost`: after two workers that were lost in company, it
/// has lost three more while it was executed alone.
pub const MAX_ATTEMPTS: u32 = SUSPECT + 3;

/// [`Record::attempts`] of a run that was found without an owner: nobody is known to be lost, but whoever takes the run
/// claims it before it executes anything.
pub const UNOWNED: u32 = 1;

/// [`Record::attempts`] of a run that has lost one worker.
pub const LOST_ONE: u32 = UNOWNED + 1;

/// How many lost workers `attempts` stands for.
pub const fn lost_workers(attempts: u32) -> u32 {
    attempts.saturating_sub(UNOWNED)
}

/// What a machine wants of the store or the queue. The run is the machine's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`RunStore::bind`](crate::RunStore::bind)
    Bind(IdempotencyItem),
    /// [`RunStore::create`](crate::RunStore::create)
    Create(Record),
    /// [`RunStore::read`](crate::RunStore::read), repeated to the end of the log.
    Read {
        /// From which sequence.
        from: Sequence,
    },
    /// [`RunStore::head`](crate::RunStore::head)
    Head,
    /// [`RunStore::append`](crate::RunStore::append)
    Append(Arc<Entry>),
    /// [`RunStore::commit`](crate::RunStore::commit)
    Commit(Arc<Entry>, RecordChange, Guard),
    /// [`RunStore::update`](crate::RunStore::update)
    Update(RecordChange, Guard),
    /// [`RunQueue::enqueue`](crate::RunQueue::enqueue)
    Enqueue {
        /// After how long.
        delay: Duration,
        /// Whether the run has lost its worker, and goes before new work.
        resumes: bool,
    },
}

/// What came of an [`Op`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "it is consumed at once")]
pub enum Reply {
    /// To [`Op::Bind`]: what the key is bound to now.
    Bound(IdempotencyItem),
    /// To [`Op::Create`]: there is a run with this id.
    Exists,
    /// To [`Op::Read`].
    Log(LogRead),
    /// To [`Op::Head`].
    Head(Head),
    /// To [`Op::Read`] and [`Op::Head`]: there is no such run.
    NoRun,
    /// It was done.
    Done,
    /// The place in the log is taken.
    Taken,
    /// The guard does not hold.
    Refused,
    /// It may or may not have been done.
    Unknown,
}

impl From<Append> for Reply {
    fn from(append: Append) -> Self {
        match append {
            Append::Done => Self::Done,
            Append::Taken => Self::Taken,
            Append::Refused => Self::Refused,
        }
    }
}

/// A participant of the protocol that goes straight to its outcome.
pub trait Machine {
    /// What it comes to.
    type Outcome;

    /// What it wants now. Asked again without a reply, it wants the same.
    fn next(&self, now: Timestamp) -> Next<Self::Outcome>;

    /// Takes the answer to what it wanted.
    fn reply(&mut self, op: Op, reply: Reply, now: Timestamp);
}

/// What a machine wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next<T> {
    /// This of the store.
    Do(Op),
    /// Nothing more: this is what came of it.
    Done(T),
}

/// The record change that rides with an entry after which the run has ended.
fn terminal_change(entry: &Entry) -> RecordChange {
    RecordChange {
        upto: Some(entry.last()),
        status: Some(entry.state.status),
        unanswered: Some(false),
        ended_at: Some(entry.at),
        owner: Field::Clear,
        due: Field::Clear,
        attempts: None,
    }
}

/// When somebody must look at a run that waits: when a request expires, at `until`, at the latest on its last day.
fn wakes_at(state: &LogState, until: Option<Timestamp>, expires_at: Timestamp) -> Timestamp {
    state.expiry().into_iter().chain(until).fold(expires_at, Timestamp::min)
}

/// `attempts` after one more worker was lost.
fn one_more(attempts: u32) -> u32 {
    attempts.max(UNOWNED).saturating_add(1)
}

/// The terminal event for a run that nobody may execute any more, if it is one.
fn verdict(state: &LogState, attempts: u32, expires_at: Timestamp, now: Timestamp) -> Option<EventBody> {
    if state.status.is_terminal() {
        return None;
    }
    let error = if now >= expires_at {
        RunError::new("expired", "the run did not end before its last day")
    } else if attempts >= MAX_ATTEMPTS {
        let message = format!(
            "{} workers in a row were lost with the run and without progress, the last {} of them while it was \
             executed apart from the other runs that had lost a worker",
            lost_workers(MAX_ATTEMPTS),
            MAX_ATTEMPTS - SUSPECT
        );
        RunError::new("worker_lost", message)
    } else {
        return None;
    };
    Some(EventBody::RunFailed { error })
}

/// [`Record::attempts`], or 0 if there was progress since it was raised.
pub(crate) fn attempts(state: &LogState, record: &Record) -> u32 {
    if state.journaled > record.attempts_at { 0 } else { record.attempts }
}
