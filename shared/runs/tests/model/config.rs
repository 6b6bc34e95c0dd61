//! What a configuration is made of.

use crate::actor::run_id;
use runyard_runs::{RunId, Timestamp};
use std::time::Duration;

/// One thing that a workflow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// Calls outside, once, and journals the result under this number.
    Call(u8),
    /// Asks a person.
    Ask(u8),
    /// Kills its worker before anything is called.
    Die,
    /// Calls outside and kills its worker.
    Kill(u8),
    /// Calls outside for longer than any worker lives: the platform has it handed over.
    Long(u8),
    /// Waits for a moment that is far away: [`rests_until`].
    Rest(u8),
}

impl Item {
    /// Whether it kills its worker.
    pub fn is_deadly(self) -> bool {
        matches!(self, Self::Die | Self::Kill(_))
    }
}

/// Branches that go on at the same time; the run ends when all have.
pub type Script = &'static [&'static [Item]];

/// How many of each may happen while the model explores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Crashes of a worker or of any other participant.
    pub crashes: u8,
    /// Requests whose reply is lost; they may be performed at any later moment, or never.
    pub lost: u8,
    /// Messages that the queue loses.
    pub dropped: u8,
    /// Messages that the queue delivers once more.
    pub duplicated: u8,
    /// Workers that are told to hand over.
    pub hand_overs: u8,
    /// Steps of the clock.
    pub ticks: u8,
    /// Looks of the sweeper.
    pub sweeps: u8,
    /// Lease renewals.
    pub renewals: u8,
    /// Deadlines that pass.
    pub deadlines: u8,
    /// Suspects that outlive their probation.
    pub clearances: u8,
    /// Times a client asks again whose request to create a run came to nothing that it knows of.
    pub retries: u8,
    /// Workers that messages bring forth.
    pub workers: u8,
    /// Under [`Off::OneTransaction`]: records that do not hear of an entry.
    pub split: u8,
}

/// A request to create a run.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Executed by who accepts it.
    pub sync: bool,
    /// With the idempotency key; the number stands for the parsed request.
    pub key: Option<u8>,
}

/// A rule of the design that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Off {
    /// Rule 2: created with `due`.
    DueOnCreate,
    /// Rule 3: entry and record in one transaction; the record hears of it late or never.
    OneTransaction,
    /// Rule 4: the end of the log is never taken from the record.
    NeverTheRecord,
    /// Rule 5: an executor reads the whole log.
    WholeLog,
    /// Rules 5 and 6: leases.
    Leases,
    /// Rule 6: the condition of the claim's transaction.
    LeaseGuard,
    /// Rule 7: a refused claim stops.
    RefusedStops,
    /// Rule 8: a replay that others overtook is discarded.
    DiscardReplay,
    /// Rule 8: an execution that begins on all that was absorbed does not start over once more.
    StartOverOnce,
    /// Rule 9: every entry to the end is read after a collision.
    ReadToEnd,
    /// Rule 9: a pause is decided anew.
    DecideAnew,
    /// Rule 10: a time-out is no success.
    LookAfterTimeOut,
    /// Rule 10: a collision is no success.
    LookAfterCollision,
    /// Rule 10: what is sent again is byte-identical.
    SameBatch,
    /// Rule 11: the claim before the first call.
    ClaimBeforeCall,
    /// Rule 11: the journal before the next call.
    JournalBeforeCall,
    /// Rule 12: a pause gives the lease up.
    PauseFrees,
    /// Rule 13: an answer makes a paused run due.
    DueOnAnswer,
    /// Rule 13: an answer makes a paused run due, and enqueues it.
    WakeOnAnswer,
    /// Rule 15: renewal on condition of being the owner.
    OwnerOfRenewal,
    /// Rule 16: a hand-over keeps `due`.
    DueOnHandOver,
    /// Rule 16: hand-over on condition of being the owner.
    OwnerOfHandOver,
    /// Rule 21: a run is left alone only if nobody wrote since it was looked at.
    RestRev,
    /// Rule 13: an answer of a run that is held is written only while it is.
    OwnerOfAnswer,
    /// Rule 17: the sweeper acts on an unchanged `rev`.
    SweepRev,
    /// Rule 17: only what has ended or waits leaves the index.
    DueOnSweep,
    /// Rule 18: lost workers are counted.
    CountLosses,
    /// Rule 18: only lost workers are counted.
    CountOnlyLosses,
    /// Rule 18: a hand-over without progress counts.
    CountHandOvers,
    /// Rule 18: suspects are executed one at a time.
    OneSuspect,
    /// Rule 18: a suspect is executed apart from a run that has lost one worker.
    ApartFromLosers,
    /// Rule 18: a suspect that has lasted is cleared before the next begins.
    ClearBeforeNext,
    /// The log: append is put-if-absent.
    PutIfAbsent,
    /// The log: written first, shown second.
    WrittenFirst,
    /// Idempotency: the key is bound before the run is created.
    BindFirst,
    /// Idempotency: the key is put if absent.
    BindIfAbsent,
    /// Idempotency: the parsed requests are compared.
    CompareRequests,
}

/// Whose entries the record may not hear of under [`Off::OneTransaction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splits {
    Claims,
    /// Of paused runs.
    Cancels,
    Answers,
}

/// One configuration, explored exhaustively.
#[derive(Clone, Debug)]
pub struct Config {
    pub script: Script,
    /// What every run but the first does, if it is not the same.
    pub others: Option<Script>,
    /// [`Record::attempts`](runyard_runs::Record::attempts) of each run at its creation: what it has behind it.
    pub attempts: [u32; 2],
    /// Whether all workers are one process, which dies with each of them and is known to be dead at once.
    pub one_process: bool,
    pub requests: Vec<Request>,
    /// Cancels.
    pub cancels: u8,
    /// Answers, by the number of the question.
    pub answers: Vec<u8>,
    pub budget: Budget,
    /// Workers at the same time.
    pub at_once: u8,
    /// By how much the clocks of every second worker and of the sweeper are ahead, in ticks.
    pub ahead: i64,
    /// Milliseconds.
    pub tick: i64,
    /// Whether a client follows the events.
    pub followed: bool,
    /// In the continuation, workers take nothing before this many sweeps.
    pub backlog: u32,
    pub splits: Splits,
    pub off: Option<Off>,
}

impl Config {
    /// What a run does.
    pub fn script_of(&self, run: RunId) -> Script {
        if run == run_id(0) { self.script } else { self.others.unwrap_or(self.script) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            script: &[&[Item::Call(0)]],
            others: None,
            attempts: [0; 2],
            one_process: false,
            requests: vec![Request { sync: false, key: None }],
            cancels: 0,
            answers: Vec::new(),
            budget: Budget { workers: 2, ..Budget::default() },
            at_once: 2,
            ahead: 0,
            tick: 60_000,
            followed: false,
            backlog: 0,
            splits: Splits::Claims,
            off: None,
        }
    }
}

/// When a world begins.
pub fn begins_at() -> Timestamp {
    Timestamp(1_000_000_000_000)
}

/// The longest that the queue holds a message back.
pub const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// The moment of a rest: the second is one that the queue reaches, the first is not.
pub fn rests_until(rest: u8) -> Timestamp {
    begins_at() + Duration::from_mins(if rest == 0 { 20 } else { 10 })
}

/// The last day of its runs.
pub fn expires_at() -> Timestamp {
    Timestamp(begins_at().0 + 3_600_000)
}
