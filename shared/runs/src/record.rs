//! The record of a run: a small projection of its log, for lists and the sweeper.

use crate::{ClaimId, RunStatus, Sequence, Timestamp};
use serde::{Deserialize, Serialize};

/// The state of a run, for lists and the sweeper. The log is authoritative.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The last sequence that this record includes.
    pub upto: Sequence,
    /// The run's status.
    pub status: RunStatus,
    /// Whether an input request has no answer.
    pub unanswered: bool,
    /// When the run ended.
    pub ended_at: Option<Timestamp>,
    /// The claim that holds the lease.
    pub owner: Option<ClaimId>,
    /// When the sweeper must handle the run: the lease has ended, it was never enqueued, a rest ends, or something
    /// expires.
    pub due: Option<Timestamp>,
    /// Counts lost workers without progress in between: 0, none is known; [`UNOWNED`](crate::protocol::UNOWNED), the
    /// run was due without an owner; one more for each worker that was lost with it.
    pub attempts: u32,
    /// [`LogState::journaled`](crate::LogState::journaled) when `attempts` was last raised.
    pub attempts_at: Sequence,
    /// Incremented by every write.
    pub rev: u64,
}

/// The change that a write makes to a record; `rev` is always incremented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecordChange {
    /// The new `upto`.
    pub upto: Option<Sequence>,
    /// The new status.
    pub status: Option<RunStatus>,
    /// The new `unanswered`.
    pub unanswered: Option<bool>,
    /// The new `ended_at`.
    pub ended_at: Option<Timestamp>,
    /// The change to `owner`.
    pub owner: Field<ClaimId>,
    /// The change to `due`.
    pub due: Field<Timestamp>,
    /// The new `attempts` and `attempts_at`.
    pub attempts: Option<(u32, Sequence)>,
}

/// The change that a write makes to an optional field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Field<T> {
    /// Leaves it unchanged.
    #[default]
    Keep,
    /// Sets it to this value.
    Set(T),
    /// Removes its value.
    Clear,
}

impl<T: Copy> Field<T> {
    fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(value) => *field = Some(value),
            Self::Clear => *field = None,
        }
    }
}

impl RecordChange {
    /// Applies this change to a record.
    pub fn apply(&self, record: &mut Record) {
        record.rev += 1;
        if let Some(upto) = self.upto {
            record.upto = upto;
        }
        if let Some(status) = self.status {
            record.status = status;
        }
        if let Some(unanswered) = self.unanswered {
            record.unanswered = unanswered;
        }
        if self.ended_at.is_some() {
            record.ended_at = self.ended_at;
        }
        self.owner.apply(&mut record.owner);
        self.due.apply(&mut record.due);
        if let Some((attempts, at)) = self.attempts {
            record.attempts = attempts;
            record.attempts_at = at;
        }
    }
}

/// The condition of a write, checked on the record in the same atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// No condition.
    Always,
    /// No other claim has a valid lease: `owner` is absent, or `claim`, or `due` is not after `now`.
    LeaseFree {
        /// The claim that writes.
        claim: ClaimId,
        /// The time that `due` is compared with.
        now: Timestamp,
    },
    /// `owner` is this claim.
    Owner(ClaimId),
    /// `rev` is this number.
    Rev(u64),
}

impl Guard {
    /// Whether `record` meets the condition.
    pub fn holds(&self, record: &Record) -> bool {
        match *self {
            Self::Always => true,
            Self::LeaseFree { claim, now } => {
                record.owner.is_none_or(|owner| owner == claim) || record.due.is_some_and(|due| due <= now)
            }
            Self::Owner(claim) => record.owner == Some(claim),
            Self::Rev(rev) => record.rev == rev,
        }
    }
}
