//! The simulated store: it keeps exactly the promises of `RunStore`.

use crate::{
    config::{Off, expires_at},
    properties::Property,
    world::{Found, Violation},
};
use runyard_runs::{
    AppId, Entry, Field, Guard, Head, IdempotencyItem, LogRead, LogState, Record, RecordChange, RunId,
    Sequence, Timestamp,
    protocol::{Op, Reply},
};
use std::sync::Arc;
use uuid::Uuid;

/// Runs and the one idempotency key.
#[derive(Clone, Debug, Default, Hash)]
pub struct Store {
    pub runs: Vec<Stored>,
    pub key: Option<IdempotencyItem>,
    pub found: Found,
}

#[derive(Clone, Debug, Hash)]
pub struct Stored {
    pub id: RunId,
    /// The hash of the request that created it.
    pub request: u8,
    pub record: Record,
    /// Sorted by first sequence: a slot is free if no entry has it as its first sequence.
    pub log: Vec<Arc<Entry>>,
}

/// The participant that requests an operation: some rules are switched off in the store, depending on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Writer,
    Ender,
    Answerer,
    Sweeper,
    Creator { request: u8 },
}

/// What the store returns if both conditions of a transaction fail: it may be either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    Taken,
    Refused,
}

pub const APP: AppId = AppId(Uuid::nil());

impl Stored {
    pub fn state(&self) -> LogState {
        self.log.last().map(|entry| entry.state.clone()).unwrap_or_default()
    }

    pub fn end(&self) -> Sequence {
        self.log.last().map_or(0, |entry| entry.last())
    }

    fn is_taken(&self, first: Sequence) -> bool {
        self.log.iter().any(|existing| existing.first == first)
    }

    fn append(&mut self, entry: &Arc<Entry>, off: Option<Off>) -> bool {
        if self.is_taken(entry.first) {
            if off != Some(Off::PutIfAbsent) {
                return false;
            }
            self.log.retain(|existing| existing.first != entry.first);
        }
        self.log.push(Arc::clone(entry));
        self.log.sort_by_key(|existing| existing.first);
        true
    }
}

impl Store {
    pub fn run(&self, id: RunId) -> Option<&Stored> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// Whether both conditions of a transaction fail.
    pub fn fails_twice(&self, run: RunId, op: &Op) -> bool {
        match (op, self.run(run)) {
            (Op::Commit(entry, _, guard), Some(run)) => {
                run.is_taken(entry.first) && !guard.holds(&run.record)
            }
            _ => false,
        }
    }

    /// Performs one operation on `run`, at the latest clock's `now`; not [`Op::Enqueue`].
    pub fn perform(
        &mut self,
        run: RunId,
        role: Role,
        op: &Op,
        tells: Tells,
        off: Option<Off>,
        now: Timestamp,
    ) -> Reply {
        if let Op::Bind(item) = op {
            return self.bind(item, role, off);
        }
        if let (Op::Create(record), Role::Creator { request }) = (op, role) {
            if self.run(run).is_some() {
                return Reply::Exists;
            }
            let due = if off == Some(Off::DueOnCreate) { None } else { record.due };
            let record = Record { due, ..record.clone() };
            self.runs.push(Stored { id: run, request, record, log: Vec::new() });
            return Reply::Done;
        }
        let Some(stored) = self.runs.iter_mut().find(|stored| stored.id == run) else {
            return match op {
                Op::Read { .. } | Op::Head => Reply::NoRun,
                _ => Reply::Refused,
            };
        };
        match op {
            Op::Read { from } => Reply::Log(stored.read(*from, role, off)),
            Op::Head => Reply::Head(Head {
                app: APP,
                expires_at: expires_at(),
                record: stored.record.clone(),
                last: stored.log.last().map(|entry| Entry::clone(entry)),
            }),
            Op::Append(entry) => {
                if stored.append(entry, off) {
                    Reply::Done
                } else {
                    Reply::Taken
                }
            }
            Op::Commit(entry, change, guard) => {
                let ignored = off == Some(Off::LeaseGuard) || off == Some(Off::Leases);
                let holds = guard.holds(&stored.record)
                    || (matches!(guard, Guard::LeaseFree { .. }) && ignored)
                    || (matches!(guard, Guard::Rev(_)) && off == Some(Off::SweepRev))
                    || (role == Role::Answerer && off == Some(Off::OwnerOfAnswer));
                let is_free = !stored.is_taken(entry.first) || off == Some(Off::PutIfAbsent);
                if !holds && (is_free || tells == Tells::Refused) {
                    return Reply::Refused;
                }
                if !is_free {
                    return Reply::Taken;
                }
                if entry.is_claim() && is_held_by_another(&stored.record, entry) {
                    self.found.note(Err(Violation::lease(entry)));
                }
                stored.append(entry, off);
                let mut change = change.clone();
                match off {
                    Some(Off::PauseFrees) if entry.state.is_asleep() => change.owner = Field::Keep,
                    Some(Off::DueOnAnswer | Off::WakeOnAnswer) if role == Role::Answerer => {
                        change.due = Field::Keep;
                    }
                    _ => {}
                }
                change.apply(&mut stored.record);
                Reply::Done
            }
            Op::Update(change, guard) => {
                let (change, ignored) = mistaken(change.clone(), *guard, &stored.record, role, off);
                if !guard.holds(&stored.record) && !ignored {
                    return Reply::Refused;
                }
                let lives = stored.record.due.is_some_and(|due| due > now);
                if role == Role::Sweeper
                    && change.owner == Field::Clear
                    && stored.record.owner.is_some()
                    && lives
                {
                    let text = "the sweeper ends a valid lease";
                    self.found.note(Err(Violation::new(Property::LeaseKept, text)));
                }
                change.apply(&mut stored.record);
                Reply::Done
            }
            Op::Bind(_) | Op::Create(_) | Op::Enqueue { .. } => Reply::Refused,
        }
    }

    fn bind(&mut self, item: &IdempotencyItem, role: Role, off: Option<Off>) -> Reply {
        if off == Some(Off::BindFirst)
            && let Role::Creator { request } = role
            && self.run(item.run).is_none()
        {
            // Created before the key is bound.
            let record = Record {
                upto: 0,
                status: runyard_runs::RunStatus::Created,
                unanswered: false,
                ended_at: None,
                owner: None,
                due: Some(item.bound_at),
                attempts: 0,
                attempts_at: 0,
                rev: 0,
            };
            self.runs.push(Stored { id: item.run, request, record, log: Vec::new() });
        }
        let bound = match &self.key {
            Some(bound) if bound.bound_at >= item.valid_since && off != Some(Off::BindIfAbsent) => {
                bound.clone()
            }
            _ => item.clone(),
        };
        self.key = Some(bound.clone());
        if off == Some(Off::CompareRequests) {
            return Reply::Bound(IdempotencyItem { request: item.request, ..bound });
        }
        Reply::Bound(bound)
    }
}

impl Stored {
    fn read(&self, from: Sequence, role: Role, off: Option<Off>) -> LogRead {
        let mut record = self.record.clone();
        let mut entries: Vec<Entry> =
            self.log.iter().filter(|entry| entry.last() >= from).map(|entry| Entry::clone(entry)).collect();
        if role == Role::Writer {
            match off {
                Some(Off::ReadToEnd) if from > 1 => {
                    entries.drain(..entries.len().saturating_sub(1));
                }
                Some(Off::WholeLog) if from == 1 => {
                    entries.drain(..entries.len().saturating_sub(1));
                }
                Some(Off::NeverTheRecord) => entries.retain(|entry| entry.last() <= record.upto),
                Some(Off::Leases) => record.owner = None,
                _ => {}
            }
        }
        LogRead { app: APP, record, entries, more: false }
    }
}

fn is_held_by_another(record: &Record, entry: &Entry) -> bool {
    record.owner.is_some_and(|owner| owner != entry.writer) && record.due.is_none_or(|due| due > entry.at)
}

/// Returns the change to the record while a rule is switched off, and whether the guard is ignored.
fn mistaken(
    mut change: RecordChange,
    guard: Guard,
    record: &Record,
    role: Role,
    off: Option<Off>,
) -> (RecordChange, bool) {
    let mut ignored = false;
    match (off, role) {
        (Some(Off::SweepRev), Role::Sweeper) | (Some(Off::RestRev), Role::Writer) => {
            ignored = matches!(guard, Guard::Rev(_));
        }
        (Some(Off::OwnerOfRenewal), Role::Writer) => ignored = change.owner == Field::Keep,
        (Some(Off::OwnerOfHandOver), Role::Writer) => ignored = change.owner == Field::Clear,
        (Some(Off::DueOnHandOver), Role::Writer) if change.owner == Field::Clear => change.due = Field::Clear,
        (Some(Off::DueOnSweep), Role::Sweeper) => change.due = Field::Clear,
        (Some(Off::CountLosses), Role::Sweeper) => change.attempts = None,
        (Some(Off::CountHandOvers), Role::Writer) => change.attempts = None,
        (Some(Off::CountOnlyLosses), Role::Sweeper) if record.owner.is_none() => {
            change.attempts = change.attempts.map(|(_, at)| (record.attempts + 1, at));
        }
        _ => {}
    }
    (change, ignored)
}
