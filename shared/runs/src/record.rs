//! The record of a run: a small projection of its log, for listing and waking.

use crate::{ClaimId, RunStatus, Sequence, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a run stands, for who lists runs or looks for work. The log is the truth.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The last sequence that is folded in.
    pub upto: Sequence,
    /// Where the run stands.
    pub status: RunStatus,
    /// Whether a request has no answer.
    pub unanswered: bool,
    /// When the run ended.
    pub ended_at: Option<Timestamp>,
    /// The claim that holds the lease.
    pub owner: Option<ClaimId>,
    /// When somebody must look at the run: lease over, never enqueued, timer, expiry.
    pub due: Option<Timestamp>,
    /// What is known of lost workers, without progress in between: 0, nothing;
    /// [`UNOWNED`](crate::protocol::UNOWNED), the run was found without an owner; one more for each worker that was lost
    /// with it.
    pub attempts: u32,
    /// [`LogState::journaled`](crate::LogState::journaled) when `attempts` was last raised.
    pub attempts_at: Sequence,
    /// Raised by every write.
    pub rev: u64,
}

/// What a write does to a record; `rev` is raised in any case.
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
    /// What becomes of `owner`.
    pub owner: Field<ClaimId>,
    /// What becomes of `due`.
    pub due: Field<Timestamp>,
    /// The new `attempts` and `attempts_at`.
    pub attempts: Option<(u32, Sequence)>,
}

/// What a write does to a field that may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Field<T> {
    /// Nothing.
    #[default]
    Keep,
    /// Gives it this value.
    Set(T),
    /// Removes it.
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
    /// The record after this write.
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

/// The condition of a write, judged on the record in the same atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// None.
    Always,
    /// Nobody else's lease is alive: `owner` is absent, or `claim`, or `due` is not after `now`.
    LeaseFree {
        /// Who asks.
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
