//! Tests of the machines for what the model does not cover in detail: counters, backoff, deadlines and expiry.

use runyard_runs::{
    Actor, AppId, Append, ClaimId, Entry, EventBody, Guard, Head, InputRequestKind, LogRead, LogState,
    Logged, Record, RequestId, RunId, RunStatus, Timestamp, Usage,
    protocol::{
        Ended, Ender, LEASE, LOST_ONE, MAX_ATTEMPTS, Machine, Next, Op, Reply, SUSPECT, Stop, Sweep, Swept,
        UNOWNED, Writer, lost_workers,
    },
};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

const RUN: RunId = RunId(Uuid::from_u128(1));
const START: Timestamp = Timestamp(1_000_000_000_000);

/// One run in a store that keeps the promises of `RunStore`.
struct TestStore {
    record: Record,
    log: Vec<Entry>,
    now: Timestamp,
    expires_at: Timestamp,
    claims: u128,
    enqueued: usize,
    /// How many of those are delivered before new work.
    resumed: usize,
}

impl TestStore {
    fn new() -> Self {
        let record = Record {
            upto: 0,
            status: RunStatus::Created,
            unanswered: false,
            ended_at: None,
            owner: None,
            due: Some(START + LEASE),
            attempts: 0,
            attempts_at: 0,
            rev: 0,
        };
        let expires_at = START + Duration::from_hours(24);
        Self { record, log: Vec::new(), now: START, expires_at, claims: 0, enqueued: 0, resumed: 0 }
    }

    fn id(&mut self) -> ClaimId {
        self.claims += 1;
        ClaimId(Uuid::from_u128(self.claims))
    }

    fn state(&self) -> LogState {
        self.log.last().map(|entry| entry.state.clone()).unwrap_or_default()
    }

    fn append(&mut self, entry: &Entry) -> Append {
        if self.log.iter().any(|existing| existing.first == entry.first) {
            return Append::Taken;
        }
        self.log.push(entry.clone());
        Append::Done
    }

    fn perform(&mut self, op: &Op) -> Reply {
        let app = AppId(Uuid::nil());
        match op {
            Op::Read { from } => {
                let entries = self.log.iter().filter(|entry| entry.last() >= *from).cloned().collect();
                Reply::Log(LogRead { app, record: self.record.clone(), entries, more: false })
            }
            Op::Head => Reply::Head(Head {
                app,
                expires_at: self.expires_at,
                record: self.record.clone(),
                last: self.log.last().cloned(),
            }),
            Op::Append(entry) => self.append(entry).into(),
            Op::Commit(_, _, guard) | Op::Update(_, guard) if !guard.holds(&self.record) => Reply::Refused,
            Op::Commit(entry, change, _) => {
                let append = self.append(entry);
                if append == Append::Done {
                    change.apply(&mut self.record);
                }
                append.into()
            }
            Op::Update(change, _) => {
                change.apply(&mut self.record);
                Reply::Done
            }
            Op::Enqueue { resumes, .. } => {
                self.enqueued += 1;
                self.resumed += usize::from(*resumes);
                Reply::Done
            }
            Op::Bind(_) | Op::Create(_) => unreachable!("no machine of these tests creates"),
        }
    }

    fn drive<M: Machine>(&mut self, mut machine: M) -> M::Outcome {
        loop {
            match machine.next(self.now) {
                Next::Done(outcome) => return outcome,
                Next::Do(op) => {
                    let reply = self.perform(&op);
                    machine.reply(op, reply, self.now);
                }
            }
        }
    }

    fn settle(&mut self, writer: &mut Writer) {
        while let Some(op) = writer.next(self.now) {
            let reply = self.perform(&op);
            writer.reply(reply, self.now);
        }
    }

    /// Opens a writer; it executes the run alone if the run is a suspect.
    fn open(&mut self) -> Writer {
        let mut writer = Writer::open(RUN, self.id(), self.expires_at);
        self.settle(&mut writer);
        if writer.stopped() == Some(&Stop::Suspected) {
            writer = Writer::open(RUN, self.id(), self.expires_at).alone();
            self.settle(&mut writer);
        }
        writer
    }

    /// Lets a worker claim the run, and die.
    fn lose_a_worker(&mut self, with_progress: bool) {
        let mut writer = self.open();
        assert!(writer.is_open(), "{:?}", writer.stopped());
        if with_progress {
            let key = format!("step {}", self.log.len());
            writer.push([journaled(&key)], Usage::default());
        }
        writer.flush(true);
        self.settle(&mut writer);
        assert!(writer.is_claimed());
    }

    /// Sweeps the run when it is due next.
    fn sweep(&mut self) -> Swept {
        self.now = self.now.max(self.record.due.expect("a live run is due"));
        let id = self.id();
        self.drive(Sweep::new(RUN, id))
    }

    fn error(&self) -> Option<&str> {
        match &self.log.last()?.events.last()?.body {
            EventBody::RunFailed { error } => Some(&error.code),
            _ => None,
        }
    }
}

fn journaled(key: &str) -> Logged {
    Logged { body: EventBody::RunCheckpoint, key: Some(key.to_owned()), journal: Some(Value::Null) }
}

#[test]
fn an_expired_run_fails_with_expired() {
    let mut store = TestStore::new();
    store.record.due = Some(store.expires_at);
    assert_eq!(store.sweep(), Swept::Failed);
    assert_eq!(store.error(), Some("expired"));
    assert_eq!((store.record.status, store.record.due, store.record.owner), (RunStatus::Failed, None, None));
    assert_eq!(store.record.ended_at, Some(store.now));
}

#[test]
fn an_expired_run_is_not_executed() {
    let mut store = TestStore::new();
    store.now = store.expires_at;
    let writer = store.open();
    let Some(Stop::Condemned { body, .. }) = writer.stopped() else { panic!("{:?}", writer.stopped()) };
    let (id, body) = (store.id(), EventBody::clone(body));
    assert!(matches!(store.drive(Ender::new(RUN, id, body)), Ended::Now(_)));
    assert_eq!(store.error(), Some("expired"));
}

#[test]
fn a_run_that_loses_its_workers_fails_with_worker_lost() {
    let mut store = TestStore::new();
    for lost in 1..5 {
        store.lose_a_worker(false);
        assert_eq!(store.sweep(), Swept::Requeued);
        assert_eq!((lost_workers(store.record.attempts), store.record.owner), (lost, None));
        assert_eq!((store.enqueued, store.resumed), (lost as usize, lost as usize));
    }
    store.lose_a_worker(false);
    assert_eq!(store.sweep(), Swept::Failed);
    assert_eq!(store.error(), Some("worker_lost"));
    assert_eq!(lost_workers(MAX_ATTEMPTS), 5);
}

#[test]
fn a_run_that_has_lost_two_workers_is_executed_alone_or_not_at_all() {
    let mut store = TestStore::new();
    for attempts in [LOST_ONE, SUSPECT] {
        store.lose_a_worker(false);
        store.sweep();
        assert_eq!(store.record.attempts, attempts);
    }
    let before = store.record.clone();
    let mut writer = Writer::open(RUN, store.id(), store.expires_at);
    store.settle(&mut writer);
    assert_eq!(writer.stopped(), Some(&Stop::Suspected));
    assert_eq!(store.record, before, "the record is unchanged");
    let mut writer = Writer::open(RUN, store.id(), store.expires_at).alone();
    store.settle(&mut writer);
    assert!(writer.is_claimed());
    assert_eq!(writer.attempts(), SUSPECT);
    writer.push([journaled("step")], Usage::default());
    writer.flush(false);
    store.settle(&mut writer);
    assert_eq!(writer.attempts(), 0, "it has made progress");
}

#[test]
fn a_suspect_that_survives_its_probation_is_cleared() {
    let mut store = TestStore::new();
    for _ in 0..3 * MAX_ATTEMPTS {
        while store.record.attempts < SUSPECT {
            store.lose_a_worker(false);
            assert_eq!(store.sweep(), Swept::Requeued);
        }
        let mut writer = store.open();
        store.settle(&mut writer);
        writer.clear();
        store.settle(&mut writer);
        assert!(writer.is_claimed());
        assert_eq!((writer.attempts(), store.record.attempts), (LOST_ONE, LOST_ONE));
        let rev = store.record.rev;
        writer.clear();
        store.settle(&mut writer);
        assert_eq!(store.record.rev, rev, "once is enough");
        assert_eq!(store.sweep(), Swept::Requeued, "a loss after the clearance does not make it fail");
    }
    let mut late = store.open();
    store.settle(&mut late);
    store.sweep();
    late.clear();
    store.settle(&mut late);
    assert_eq!(late.stopped(), Some(&Stop::Superseded), "without the lease it cannot clear the run");
}

#[test]
fn the_end_of_a_process_is_not_counted_against_the_run() {
    let mut store = TestStore::new();
    for _ in 0..3 * MAX_ATTEMPTS {
        let mut writer = store.open();
        writer.flush(true);
        store.settle(&mut writer);
        writer.leave();
        store.settle(&mut writer);
        assert_eq!(writer.stopped(), Some(&Stop::HandedOver));
        assert_eq!((store.record.attempts, store.record.due), (0, Some(store.now)));
    }
}

#[test]
fn progress_resets_the_count() {
    let mut store = TestStore::new();
    for _ in 0..3 * MAX_ATTEMPTS {
        store.lose_a_worker(true);
        assert_eq!(store.sweep(), Swept::Requeued);
        assert_eq!(store.record.attempts, LOST_ONE);
    }
    assert!(!store.state().status.is_terminal());
}

#[test]
fn a_long_queue_does_not_fail_a_run() {
    let mut store = TestStore::new();
    for _ in 0..10 * MAX_ATTEMPTS {
        assert_eq!(store.sweep(), Swept::Requeued);
    }
    assert!(store.now < store.expires_at);
    assert_eq!((store.record.attempts, store.resumed), (UNOWNED, 0));
    assert!(store.open().is_claimed(), "a run that was swept is claimed first");
}

#[test]
fn takeovers_back_off() {
    let mut store = TestStore::new();
    let mut waits = Vec::new();
    for _ in LOST_ONE..MAX_ATTEMPTS {
        store.lose_a_worker(false);
        store.sweep();
        waits.push(store.record.due.expect("it is due").since(store.now + LEASE));
    }
    assert_eq!(waits, [0, 1, 5, 20].map(Duration::from_secs));
}

#[test]
fn hand_overs_without_progress_are_counted() {
    let mut store = TestStore::new();
    for given_back in LOST_ONE..=MAX_ATTEMPTS {
        let mut writer = store.open();
        writer.flush(true);
        store.settle(&mut writer);
        writer.hand_over();
        store.settle(&mut writer);
        assert_eq!(writer.stopped(), Some(&Stop::HandedOver));
        assert_eq!((store.record.attempts, store.record.owner), (given_back, None));
        assert_eq!(store.record.due, Some(store.now));
    }
    assert_eq!(store.enqueued, 5);
    let Some(Stop::Condemned { body, .. }) = store.open().stopped().cloned() else {
        panic!("the run is executed again")
    };
    assert!(matches!(*body, EventBody::RunFailed { error } if error.code == "worker_lost"));
}

#[test]
fn a_hand_over_with_progress_is_not_counted() {
    let mut store = TestStore::new();
    store.lose_a_worker(false);
    store.sweep();
    let mut writer = store.open();
    writer.push([journaled("step")], Usage::default());
    writer.hand_over();
    store.settle(&mut writer);
    assert_eq!(writer.stopped(), Some(&Stop::HandedOver));
    assert_eq!(store.record.attempts, 0);
    assert_eq!(store.state().journaled, store.log.last().expect("a log").last());
}

#[test]
fn a_refused_renewal_writes_finished_work_and_stops() {
    let mut store = TestStore::new();
    let mut writer = store.open();
    writer.flush(true);
    store.settle(&mut writer);
    assert_eq!(store.sweep(), Swept::Requeued);
    writer.push([journaled("step")], Usage::default());
    writer.renew();
    store.settle(&mut writer);
    assert_eq!(writer.stopped(), Some(&Stop::Superseded));
    assert_eq!(store.log.last().and_then(|entry| entry.events[0].key.as_deref()), Some("step"));
}

#[test]
fn the_deadline_does_not_run_while_the_run_waits_for_a_person() {
    let claim = ClaimId(Uuid::from_u128(1));
    let limit = Duration::from_secs(100);
    let at = |seconds: u64| START + Duration::from_secs(seconds);
    let created = LogState::default();
    assert_eq!(created.deadline(limit), None);

    let started = created.after(claim, 1, at(0), &[EventBody::RunStarted.into()]);
    assert_eq!(started.deadline(limit), Some(at(100)));

    // A takeover while it is being executed does not restart the time.
    let taken_over = started.after(claim, 2, at(20), &[EventBody::RunResumed.into()]);
    assert_eq!(taken_over.deadline(limit), Some(at(100)));

    let paused = taken_over.after(claim, 3, at(30), &[EventBody::RunPaused.into()]);
    assert_eq!(paused.deadline(limit), None);
    assert!(paused.is_asleep());

    let answer = EventBody::InputReceived {
        request_id: RequestId(Uuid::nil()),
        kind: InputRequestKind::HumanFeedback,
        approved: None,
        changes: serde_json::Map::new(),
        by: Actor::default(),
    };
    let answered = paused.after(claim, 4, at(5_000), &[answer.into()]);
    assert_eq!(answered.deadline(limit), None);
    assert!(!answered.is_asleep());

    // 30 s are used up, 70 s are left.
    let resumed = answered.after(claim, 5, at(6_000), &[EventBody::RunResumed.into()]);
    assert_eq!(resumed.deadline(limit), Some(at(6_070)));
    let paused_again = resumed.after(claim, 6, at(6_010), &[EventBody::RunPaused.into()]);
    let resumed_again = paused_again.after(claim, 7, at(9_000), &[EventBody::RunResumed.into()]);
    assert_eq!(resumed_again.deadline(limit), Some(at(9_060)));
}

#[test]
fn a_live_lease_is_left_alone() {
    let mut store = TestStore::new();
    store.lose_a_worker(false);
    let (record, id) = (store.record.clone(), store.id());
    assert_eq!(store.drive(Sweep::new(RUN, id)), Swept::Nothing);
    assert_eq!(store.open().stopped(), Some(&Stop::Superseded));
    assert_eq!(store.record, record);
    let guard = Guard::LeaseFree { claim: id, now: store.now };
    assert!(!guard.holds(&record));
    assert!(Guard::LeaseFree { claim: id, now: store.now + LEASE }.holds(&record));
}

/// A worker with many events writes several entries, in order, and ends the run with the last. Nothing is lost if
/// another participant takes a slot in between.
#[test]
fn many_events_are_written_in_several_entries() {
    let journal = || Some(Value::from("x".repeat(400_000)));
    let pushed: Vec<Logged> = (0..12)
        .map(|number| Logged {
            body: EventBody::RunCheckpoint,
            key: Some(number.to_string()),
            journal: journal(),
        })
        .collect();
    for interrupted in [false, true] {
        let mut store = TestStore::new();
        let mut writer = store.open();
        writer.push(pushed.clone(), Usage::default());
        writer.end(EventBody::RunFailed { error: runyard_runs::RunError::new("node_failed", "no") });
        let mut has_written = !interrupted;
        while let Some(op) = writer.next(store.now) {
            if store.log.len() == 2 && !has_written && matches!(op, Op::Append(_)) {
                has_written = true;
                let first = store.log.last().map_or(1, |entry| entry.last() + 1);
                let mut other = store.log[1].clone();
                (other.first, other.nonce, other.writer) = (first, 99, store.id());
                other.events = vec![EventBody::RunCheckpoint.into()];
                store.log.push(other);
            }
            let reply = store.perform(&op);
            writer.reply(reply, store.now);
        }
        assert_eq!(writer.stopped(), Some(&Stop::Ended));
        assert_eq!(writer.acknowledged(), 12);
        let keys: Vec<_> = store
            .log
            .iter()
            .flat_map(|entry| &entry.events)
            .filter_map(|logged| logged.key.clone())
            .collect();
        assert_eq!(keys, (0..12).map(|number| number.to_string()).collect::<Vec<_>>());
        let mut next = 1;
        for entry in &store.log {
            assert_eq!(entry.first, next);
            next = entry.last() + 1;
            assert!(entry.events.len() <= 4, "two large ones, the claim and the end");
        }
        assert!(store.log.iter().rev().skip(1).all(|entry| !entry.state.status.is_terminal()));
        assert_eq!(store.log.last().map(|entry| entry.state.status), Some(RunStatus::Failed));
    }
}
