//! The protocol of a run's log: the design's rules on what may be appended by whom, without any I/O.
//!
//! Each participant is a small state machine. [`Machine::next`] returns the operation that it requests,
//! [`Machine::reply`] takes the result. The service drives the machines against the ports. The model (`tests/model`)
//! drives the same code against a simulated store, through every possible order of events.
//!
//! | machine | what |
//! | --- | --- |
//! | [`Creator`] | accepts a run, once per idempotency key |
//! | [`Writer`] | one attempt to execute a run: claim, append, pause, rest, end, hand over |
//! | [`Ender`] | ends a run from outside: cancel, expiry, too many lost workers |
//! | [`Answerer`] | records a person's answer, or the expiry of requests, and wakes the run |
//! | [`Sweep`] | handles one run that is due |

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

/// [`Record::attempts`] from which on a run is a suspect: it has lost two workers. Another run may have caused either
/// loss, so from here on it is executed apart from every other run that has lost a worker.
pub const SUSPECT: u32 = LOST_ONE + 1;

/// [`Record::attempts`] at which the run fails with `worker_lost`: after the two workers that made it a suspect, it has
/// lost three more while it was executed alone.
pub const MAX_ATTEMPTS: u32 = SUSPECT + 3;

/// [`Record::attempts`] of a run that was due without an owner: no worker is known to be lost, but the next worker
/// claims the run before it executes anything.
pub const UNOWNED: u32 = 1;

/// [`Record::attempts`] of a run that has lost one worker.
pub const LOST_ONE: u32 = UNOWNED + 1;

/// Returns how many lost workers `attempts` stands for.
pub const fn lost_workers(attempts: u32) -> u32 {
    attempts.saturating_sub(UNOWNED)
}

/// An operation on the store or the queue that a machine requests for its run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`RunStore::bind`](crate::RunStore::bind)
    Bind(IdempotencyItem),
    /// [`RunStore::create`](crate::RunStore::create)
    Create(Record),
    /// [`RunStore::read`](crate::RunStore::read), repeated to the end of the log.
    Read {
        /// The first sequence to read.
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
        /// How long the message is delayed.
        delay: Duration,
        /// Whether the run has lost its worker, and is delivered before new work.
        resumes: bool,
    },
}

/// The result of an [`Op`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "it is consumed at once")]
pub enum Reply {
    /// To [`Op::Bind`]: what the key is bound to now.
    Bound(IdempotencyItem),
    /// To [`Op::Create`]: a run with this id exists.
    Exists,
    /// To [`Op::Read`].
    Log(LogRead),
    /// To [`Op::Head`].
    Head(Head),
    /// To [`Op::Read`] and [`Op::Head`]: there is no such run.
    NoRun,
    /// It was done.
    Done,
    /// The slot in the log is taken.
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

/// A participant of the protocol that is driven to one outcome.
pub trait Machine {
    /// The result of the whole.
    type Outcome;

    /// Returns the next operation, or the outcome. Without a reply in between, it returns the same again.
    fn next(&self, now: Timestamp) -> Next<Self::Outcome>;

    /// Takes the result of the operation that [`Machine::next`] returned.
    fn reply(&mut self, op: Op, reply: Reply, now: Timestamp);
}

/// The next step of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next<T> {
    /// Perform this operation, and reply.
    Do(Op),
    /// The machine is done, with this outcome.
    Done(T),
}

/// Returns the change of the record that is committed with a terminal entry.
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

/// Returns when a waiting run is due: when a request expires, at `until`, or at the latest at `expires_at`.
fn wakes_at(state: &LogState, until: Option<Timestamp>, expires_at: Timestamp) -> Timestamp {
    state.expiry().into_iter().chain(until).fold(expires_at, Timestamp::min)
}

/// Returns `attempts` after one more worker was lost.
fn one_more(attempts: u32) -> u32 {
    attempts.max(UNOWNED).saturating_add(1)
}

/// Returns the terminal event of a run that must not be executed any more; `None` if it may be executed, or has ended.
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

/// Returns [`Record::attempts`], or 0 if there was progress since it was raised.
pub(crate) fn attempts(state: &LogState, record: &Record) -> u32 {
    if state.journaled > record.attempts_at { 0 } else { record.attempts }
}
