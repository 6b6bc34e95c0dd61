//! The configurations of the model.

use crate::actor::run_id;
use runyard_runs::{RunId, Timestamp};
use std::time::Duration;

/// One step of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// Calls outside once, and journals the result under this number.
    Call(u8),
    /// Asks a person.
    Ask(u8),
    /// Kills its worker before any call.
    Die,
    /// Calls outside and kills its worker.
    Kill(u8),
    /// Calls outside for longer than any worker lives: the platform makes the worker hand the run over.
    Long(u8),
    /// Waits for a distant time: [`rests_until`].
    Rest(u8),
}

impl Item {
    /// Whether it kills its worker.
    pub fn is_deadly(self) -> bool {
        matches!(self, Self::Die | Self::Kill(_))
    }
}

/// Branches that are executed at the same time; the run ends when all have ended.
pub type Script = &'static [&'static [Item]];

/// Maximum number of each kind of action while the model explores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Crashes of a worker or of any other participant.
    pub crashes: u8,
    /// Operations whose reply is lost; they may be performed at any later time, or never.
    pub lost: u8,
    /// Messages that the queue loses.
    pub dropped: u8,
    /// Messages that the queue delivers a second time.
    pub duplicated: u8,
    /// Workers that are requested to hand over.
    pub hand_overs: u8,
    /// Steps of the clock.
    pub ticks: u8,
    /// Sweeps of a due run.
    pub sweeps: u8,
    /// Lease renewals.
    pub renewals: u8,
    /// Deadlines that pass.
    pub deadlines: u8,
    /// Suspects that survive their probation.
    pub clearances: u8,
    /// Requests to create a run that a client repeats because the outcome of the first is unknown to it.
    pub retries: u8,
    /// Workers that are started by messages.
    pub workers: u8,
    /// Under [`Off::OneTransaction`]: entries whose change of the record is late or lost.
    pub split: u8,
}

/// A request to create a run.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Whether the process that accepts the run executes it.
    pub sync: bool,
    /// Sends the idempotency key; the number stands for the hash of the parsed request.
    pub key: Option<u8>,
}

/// A rule of the design that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Off {
    /// Rule 2: a run is created with `due`.
    DueOnCreate,
    /// Rule 3: entry and record are written in one transaction. Without it, the record is changed late or never.
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
    /// Rule 8: a replay is discarded if others have written in the meantime.
    DiscardReplay,
    /// Rule 8: an execution that begins with everything absorbed does not start over a second time.
    StartOverOnce,
    /// Rule 9: every entry to the end is read after a collision.
    ReadToEnd,
    /// Rule 9: a pause is decided again after a collision.
    DecideAnew,
    /// Rule 10: a timeout is not a success.
    LookAfterTimeOut,
    /// Rule 10: a collision is not a success.
    LookAfterCollision,
    /// Rule 10: an entry that is sent again is byte-identical.
    SameBatch,
    /// Rule 11: the claim is written before the first call.
    ClaimBeforeCall,
    /// Rule 11: the journal is written before the next call.
    JournalBeforeCall,
    /// Rule 12: a pause gives up the lease.
    PauseFrees,
    /// Rule 13: an answer makes a paused run due.
    DueOnAnswer,
    /// Rule 13: an answer makes a paused run due, and enqueues it.
    WakeOnAnswer,
    /// Rule 15: only the owner renews a lease.
    OwnerOfRenewal,
    /// Rule 16: a hand-over keeps `due`.
    DueOnHandOver,
    /// Rule 16: only the owner hands over.
    OwnerOfHandOver,
    /// Rule 21: a run rests only if its `rev` is unchanged since its log was read.
    RestRev,
    /// Rule 13: an answer to a run that has an owner is only written if the owner is unchanged.
    OwnerOfAnswer,
    /// Rule 17: the sweeper only acts on an unchanged `rev`.
    SweepRev,
    /// Rule 17: only runs that have ended or wait leave the index of due runs.
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
    /// Rule 18: a suspect that has survived its probation is cleared before the next begins.
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

/// The entries whose change of the record may be late or lost under [`Off::OneTransaction`].
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
    /// The script of every run but the first, if it differs.
    pub others: Option<Script>,
    /// [`Record::attempts`](runyard_runs::Record::attempts) of each run at its creation.
    pub attempts: [u32; 2],
    /// Whether all workers are in one process, which dies with each of them and is detected as dead at once.
    pub one_process: bool,
    pub requests: Vec<Request>,
    /// Number of cancel requests.
    pub cancels: u8,
    /// Answers: the number of the question of each.
    pub answers: Vec<u8>,
    pub budget: Budget,
    /// Maximum number of workers at the same time.
    pub at_once: u8,
    /// By how many ticks the clocks of every second worker and of the sweeper are ahead.
    pub ahead: i64,
    /// Milliseconds of a step of the clock.
    pub tick: i64,
    /// Whether a client follows the events.
    pub followed: bool,
    /// In the continuation without faults, workers take no message before this many sweeps.
    pub backlog: u32,
    pub splits: Splits,
    pub off: Option<Off>,
}

impl Config {
    /// Returns the script of a run.
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

/// The time at which a world begins.
pub fn begins_at() -> Timestamp {
    Timestamp(1_000_000_000_000)
}

/// Maximum delay of a message in the queue.
pub const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// The time that a rest waits for. The queue can delay a message until the one of rest 1, but not of rest 0.
pub fn rests_until(rest: u8) -> Timestamp {
    begins_at() + Duration::from_mins(if rest == 0 { 20 } else { 10 })
}

/// When the runs of a world expire.
pub fn expires_at() -> Timestamp {
    Timestamp(begins_at().0 + 3_600_000)
}
