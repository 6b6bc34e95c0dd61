//! One attempt to execute a run: rules 4 to 12, 15, 16, 20 and 21.

use super::{LEASE, LOST_ONE, Op, Reply, SUSPECT, attempts, one_more, terminal_change, verdict, wakes_at};
use crate::{
    ClaimId, ENTRY_VERSION, Entry, EventBody, Field, Guard, LogRead, LogState, Logged, Record, RecordChange,
    RunId, Sequence, Timestamp, Usage, engine::PendingEvents,
};
use std::{sync::Arc, time::Duration};

/// Writes the log of one run for one attempt to execute it.
///
/// It reads the log ([`Writer::open`]) or knows that it is empty ([`Writer::fresh`]). Then its user executes the run
/// and pushes its events. The claim is deferred: the first entry begins with `run.started` or `run.resumed`, and only
/// after that ([`Writer::is_claimed`]) may the user call outside. Any reply may reveal that others have written to the
/// log. Then the user has to [absorb](Writer::take_absorbed) their events or to [start over](Writer::take_restart), or
/// the writer has [stopped](Writer::stopped).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub struct Writer {
    run: RunId,
    claim: ClaimId,
    expires_at: Timestamp,
    phase: Phase,
    step: Step,
    /// The end of the log, as read in full or as written by an acknowledged entry of this writer.
    last: Sequence,
    state: LogState,
    /// Whether the record names this claim as owner, as far as is known.
    held: bool,
    /// The record's `attempts` when the log was opened; 0 if there was progress since they were raised.
    attempts: u32,
    claims_first: bool,
    /// Whether the run is executed apart from every other that has lost a worker.
    alone: bool,
    /// The record's `due` when the log was opened, if the run had no owner then.
    found_due: Option<Timestamp>,
    journaled_before: Sequence,
    outbox: Vec<Logged>,
    usage: Usage,
    requested: Requested,
    absorbed: Vec<Logged>,
    written: Vec<Arc<Entry>>,
    restart: bool,
    acknowledged: u64,
    end: Option<Arc<Entry>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Unread,
    Unclaimed,
    Claimed,
    /// The lease is lost: finished work is still offered to the log, nothing new is begun.
    Draining,
    Stopped(Stop),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    Read,
    Send(Arc<Entry>),
    /// The reply was lost, or the slot is taken: read which entry has it.
    Check(Arc<Entry>),
    Renew,
    Clear,
    Release {
        enqueue: bool,
    },
    /// Read whether others have written something that makes the rest unnecessary.
    ReadToRest {
        until: Timestamp,
    },
    /// Release the run if the record is unchanged since that read.
    Rest {
        until: Timestamp,
        due: Timestamp,
        rev: u64,
    },
    Enqueue {
        delay: Duration,
        then: Stop,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "the requests are independent of each other")]
struct Requested {
    flush: bool,
    claim: bool,
    end: Option<EventBody>,
    pause: bool,
    rest: Option<Timestamp>,
    hand_over: Option<HandOver>,
    renewal: bool,
    clearance: bool,
    read: bool,
}

/// Why a run is given back to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum HandOver {
    /// The time of this execution is over: without progress it counts like a lost worker.
    OutOfTime,
    /// The process ends: this is not counted against the run.
    Leaving,
}

/// Why a writer stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The run has ended, by this writer or another participant.
    Ended,
    /// The run waits for a person.
    Paused,
    /// The run waits for a point in time.
    Resting,
    /// The run was given back to the queue.
    HandedOver,
    /// Another claim has the lease, or may have it.
    Superseded,
    /// The run has lost two workers, and may only be executed alone: see [`Writer::alone`].
    Suspected,
    /// The run must not be executed any more, and is to be ended with this event.
    Condemned {
        /// The terminal event.
        body: Box<EventBody>,
        /// The record's `rev` that the decision is based on: if it has changed, the decision is void.
        rev: u64,
    },
    /// There is no such run.
    NoRun,
}

impl Writer {
    /// Returns a writer for a run that was created with `claim` as its owner.
    pub fn fresh(run: RunId, claim: ClaimId, expires_at: Timestamp) -> Self {
        Self { phase: Phase::Unclaimed, step: Step::Idle, held: true, ..Self::open(run, claim, expires_at) }
    }

    /// Returns a writer for a run from the queue.
    pub fn open(run: RunId, claim: ClaimId, expires_at: Timestamp) -> Self {
        Self {
            run,
            claim,
            expires_at,
            phase: Phase::Unread,
            step: Step::Read,
            last: 0,
            state: LogState::default(),
            held: false,
            attempts: 0,
            claims_first: false,
            alone: false,
            found_due: None,
            journaled_before: 0,
            outbox: Vec::new(),
            usage: Usage::default(),
            requested: Requested::default(),
            absorbed: Vec::new(),
            written: Vec::new(),
            restart: false,
            acknowledged: 0,
            end: None,
        }
    }

    /// The same writer, for a run that is executed apart from every other run that has lost a worker. Only such a
    /// writer may execute a suspect.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Adds events for the next entry, and the run's usage after them.
    pub fn push(&mut self, events: impl IntoIterator<Item = Logged>, usage: Usage) {
        self.outbox.extend(events);
        self.usage = usage;
    }

    /// [`Writer::push`] of the engine's events and usage.
    pub(crate) fn push_all(&mut self, taken: PendingEvents) {
        self.push(taken.events, taken.usage);
    }

    /// Requests that pushed events are written now. Without a claim so far, they are only written if `claim` is set.
    pub fn flush(&mut self, claim: bool) {
        self.requested.flush = true;
        self.requested.claim |= claim;
    }

    /// Requests that the run ends with this terminal event.
    pub fn end(&mut self, body: EventBody) {
        self.requested.end = Some(body);
    }

    /// Requests that the run pauses. If others write first, the pause is discarded: see [`Writer::take_restart`].
    pub fn pause(&mut self) {
        self.requested.pause = true;
    }

    /// Requests that pushed events are written and the run rests until then. If others write first, the rest is
    /// discarded: see [`Writer::take_restart`].
    pub fn rest(&mut self, until: Timestamp) {
        self.requested.rest = Some(until);
    }

    /// Requests that pushed events are written and the run goes back to the queue, because the time of this execution
    /// is over. Without progress it counts like a lost worker.
    pub fn hand_over(&mut self) {
        self.requested.hand_over = Some(HandOver::OutOfTime);
    }

    /// The same, because this process ends: it is not counted against the run.
    pub fn leave(&mut self) {
        self.requested.hand_over = Some(HandOver::Leaving);
    }

    /// Requests that the record shows that the run has survived its probation: it is not a suspect any more, until it
    /// loses another worker.
    pub fn clear(&mut self) {
        self.requested.clearance = self.phase == Phase::Claimed && self.attempts() >= SUSPECT;
    }

    /// Requests that the lease is renewed.
    pub fn renew(&mut self) {
        self.requested.renewal = self.phase == Phase::Claimed;
    }

    /// Requests that the log is read for entries of others.
    pub fn look(&mut self) {
        self.requested.read = true;
    }

    /// The claim that this writer writes for.
    pub fn claim(&self) -> ClaimId {
        self.claim
    }

    /// Whether the run may call outside.
    pub fn is_claimed(&self) -> bool {
        self.phase == Phase::Claimed
    }

    /// Whether the log is known, and execution may begin or continue.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Unclaimed | Phase::Claimed)
    }

    /// Whether the claim must be acknowledged before anything is executed: the run may have killed an earlier worker.
    pub fn claims_first(&self) -> bool {
        self.claims_first
    }

    /// The record's `attempts`, or 0 once there was progress: see [`SUSPECT`] and [`LOST_ONE`].
    pub fn attempts(&self) -> u32 {
        if self.state.journaled > self.journaled_before { 0 } else { self.attempts }
    }

    /// Why the writer stopped, if it did.
    pub fn stopped(&self) -> Option<&Stop> {
        match &self.phase {
            Phase::Stopped(stop) => Some(stop),
            _ => None,
        }
    }

    /// The run's state at the end of the log, as far as it is known.
    pub fn state(&self) -> &LogState {
        &self.state
    }

    /// How many pushed events are not part of an entry yet.
    pub(crate) fn waiting(&self) -> u64 {
        self.outbox.len() as u64
    }

    /// How many of the pushed events are in the log.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Returns the events that were read from the log and not taken before, in order.
    pub fn take_absorbed(&mut self) -> Vec<Logged> {
        std::mem::take(&mut self.absorbed)
    }

    /// Returns the terminal entry of the log, if this writer has written or read it.
    pub(crate) fn take_last(&mut self) -> Option<Arc<Entry>> {
        self.end.take()
    }

    /// Returns the entries for followers: those that were added to the log since it was opened and not taken before, in
    /// order.
    pub fn take_written(&mut self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut self.written)
    }

    /// Whether the execution must start over with everything that was absorbed: pushed events were discarded, or an
    /// answer came before the requested pause or rest.
    pub fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restart)
    }

    /// Returns the next operation, if any. Without a reply in between, it returns the same again.
    pub fn next(&mut self, now: Timestamp) -> Option<Op> {
        if self.step == Step::Idle {
            self.step = self.choose(now);
        }
        match &self.step {
            Step::Idle => None,
            Step::Read => Some(Op::Read { from: self.last + 1 }),
            Step::Send(entry) => Some(self.send(entry)),
            Step::Check(entry) => Some(Op::Read { from: entry.first }),
            Step::Renew => {
                let change = RecordChange { due: Field::Set(now + LEASE), ..RecordChange::default() };
                Some(Op::Update(change, Guard::Owner(self.claim)))
            }
            Step::Release { enqueue } => {
                let change = RecordChange {
                    owner: Field::Clear,
                    due: if *enqueue { Field::Set(now) } else { Field::Keep },
                    attempts: self.attempts_after().filter(|_| *enqueue),
                    ..RecordChange::default()
                };
                Some(Op::Update(change, Guard::Owner(self.claim)))
            }
            Step::Clear => {
                let change = RecordChange {
                    attempts: Some((LOST_ONE, self.state.journaled)),
                    ..RecordChange::default()
                };
                Some(Op::Update(change, Guard::Owner(self.claim)))
            }
            Step::ReadToRest { .. } => Some(Op::Read { from: self.last + 1 }),
            Step::Rest { due, rev, .. } => {
                let change = RecordChange {
                    owner: Field::Clear,
                    due: Field::Set(*due),
                    // A worker that got this far was not lost, and the time to wait for gets closer with each attempt.
                    attempts: Some((0, self.state.journaled)),
                    ..RecordChange::default()
                };
                Some(Op::Update(change, Guard::Rev(*rev)))
            }
            Step::Enqueue { delay, .. } => Some(Op::Enqueue { delay: *delay, resumes: false }),
        }
    }

    /// Takes the result of the operation that [`Writer::next`] returned.
    pub fn reply(&mut self, reply: Reply, now: Timestamp) {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        match (step, reply) {
            (_, Reply::NoRun) => self.stop(Stop::NoRun),
            (Step::Read, Reply::Log(log)) => self.absorb(log, now),
            (Step::Send(entry), Reply::Done) => self.acknowledge(entry),
            (Step::Send(entry), Reply::Taken | Reply::Unknown) => self.step = Step::Check(entry),
            (Step::Check(entry), Reply::Log(mut log)) => match log.entries.first() {
                None => self.step = Step::Send(entry),
                Some(existing) if existing.is_same_append(&entry) => {
                    self.acknowledge(entry);
                    log.entries.remove(0);
                    if self.stopped().is_none() {
                        self.absorb(log, now);
                    }
                }
                Some(_) => {
                    self.take_back(entry);
                    self.absorb(log, now);
                }
            },
            (Step::Renew | Step::Clear, Reply::Refused) => self.phase = Phase::Draining,
            (Step::Clear, Reply::Done) => {
                self.attempts = LOST_ONE;
                self.journaled_before = self.state.journaled;
            }
            (Step::Release { enqueue: true }, Reply::Done) => self.step = HAND_OVER,
            (Step::ReadToRest { until }, Reply::Log(log)) => {
                let record = log.record.clone();
                self.absorb(log, now);
                if self.phase == Phase::Claimed {
                    self.release(&record, until, now);
                }
            }
            (Step::Rest { due, .. }, Reply::Done) => self.step = enqueue_rested(due, now),
            (Step::Rest { until, .. }, _) => self.step = Step::ReadToRest { until },
            (Step::Release { enqueue: false }, Reply::Done | Reply::Refused) => self.stop(Stop::Paused),
            // A lost message does no harm: the run is due.
            (Step::Enqueue { then, .. }, _) => self.stop(then),
            (Step::Send(_) | Step::Release { .. }, Reply::Refused) => self.stop(Stop::Superseded),
            // The next renewal is requested soon enough; anything else is repeated unchanged.
            (Step::Renew, _) => {}
            (step, _) => self.step = step,
        }
    }

    fn choose(&mut self, now: Timestamp) -> Step {
        let needs_entry = match self.phase {
            Phase::Unread => return Step::Read,
            Phase::Stopped(_) => return Step::Idle,
            Phase::Unclaimed if self.requested.hand_over.is_some() && self.requested.end.is_none() => {
                return if self.held { Step::Release { enqueue: true } } else { HAND_OVER };
            }
            Phase::Unclaimed if self.requested.rest.is_some_and(|until| self.rests_already(until)) => {
                self.stop(Stop::Resting);
                return Step::Idle;
            }
            Phase::Unclaimed => {
                self.requested.claim
                    || self.requested.end.is_some()
                    || self.requested.pause
                    || self.requested.rest.is_some()
            }
            Phase::Claimed => {
                let leaves = self.requested.hand_over.is_some() || self.requested.rest.is_some();
                ((self.requested.flush || leaves) && !self.outbox.is_empty())
                    || self.requested.end.is_some()
                    || self.requested.pause
            }
            Phase::Draining => !self.outbox.is_empty() || self.requested.end.is_some(),
        };
        if needs_entry {
            return Step::Send(Arc::new(self.compose(now)));
        }
        self.requested.flush = false;
        if self.phase == Phase::Draining {
            self.stop(Stop::Superseded);
            return Step::Idle;
        }
        if self.requested.hand_over.is_some() {
            return Step::Release { enqueue: true };
        }
        if let Some(until) = self.requested.rest {
            return Step::ReadToRest { until };
        }
        if std::mem::take(&mut self.requested.renewal) {
            return Step::Renew;
        }
        if std::mem::take(&mut self.requested.clearance) {
            return Step::Clear;
        }
        if std::mem::take(&mut self.requested.read) { Step::Read } else { Step::Idle }
    }

    fn compose(&mut self, now: Timestamp) -> Entry {
        let mut events = Vec::with_capacity(self.outbox.len() + 2);
        if self.phase == Phase::Unclaimed {
            let body = if self.state.epoch == 0 { EventBody::RunStarted } else { EventBody::RunResumed };
            events.push(body.into());
        }
        let (fit, is_full) = fitting(&self.outbox, self.requested.end.as_ref());
        let rest = self.outbox.split_off(fit);
        // Not `append`: the outbox of a run that waits for long would keep its capacity.
        events.extend(std::mem::replace(&mut self.outbox, rest));
        // Events that did not fit go into the next entry.
        self.requested.flush = !self.outbox.is_empty();
        if !is_full {
            if let Some(body) = self.requested.end.take() {
                events.push(body.into());
            } else if std::mem::take(&mut self.requested.pause) {
                events.push(EventBody::RunPaused.into());
            }
        }
        self.requested.claim = false;
        let first = self.last + 1;
        let mut state = self.state.after(self.claim, first, now, &events);
        state.usage = self.usage.clone();
        Entry {
            run: self.run,
            first,
            version: ENTRY_VERSION,
            writer: self.claim,
            nonce: first,
            at: now,
            state,
            events,
        }
    }

    fn send(&self, entry: &Arc<Entry>) -> Op {
        let claims = self.phase == Phase::Unclaimed;
        let guard =
            if claims { Guard::LeaseFree { claim: self.claim, now: entry.at } } else { Guard::Always };
        let unanswered = !entry.state.pending.is_empty();
        if entry.state.status.is_terminal() {
            return Op::Commit(Arc::clone(entry), terminal_change(entry), guard);
        }
        let change = RecordChange {
            upto: Some(entry.last()),
            status: Some(entry.state.status),
            unanswered: Some(unanswered),
            ..RecordChange::default()
        };
        if entry.state.is_asleep() {
            // `due` is needed because a question may expire, and because the run fails at `expires_at` without an
            // answer.
            let due = Field::Set(wakes_at(&entry.state, None, self.expires_at));
            let change = RecordChange { owner: Field::Clear, due, ..change };
            return Op::Commit(Arc::clone(entry), change, guard);
        }
        if claims {
            let due = Field::Set(entry.at + LEASE);
            return Op::Commit(
                Arc::clone(entry),
                RecordChange { owner: Field::Set(self.claim), due, ..change },
                guard,
            );
        }
        // A question changes the record, so that lists show it while other branches continue.
        if entry.events.iter().any(|logged| logged.body.request().is_some()) {
            return Op::Commit(Arc::clone(entry), change, guard);
        }
        Op::Append(Arc::clone(entry))
    }

    fn acknowledge(&mut self, entry: Arc<Entry>) {
        self.acknowledged += entry.events.iter().filter(|logged| is_pushed(&logged.body)).count() as u64;
        self.last = entry.last();
        self.state = entry.state.clone();
        if entry.is_claim() {
            self.phase = Phase::Claimed;
            self.held = true;
        }
        if entry.state.status.is_terminal() {
            self.end = Some(Arc::clone(&entry));
            self.stop(Stop::Ended);
        } else if entry.state.is_asleep() {
            self.stop(Stop::Paused);
        }
        self.written.push(entry);
    }

    /// Takes back the events of an entry whose slot is taken. The claim and a pause are decided again.
    fn take_back(&mut self, entry: Arc<Entry>) {
        let mut events = Arc::unwrap_or_clone(entry).events;
        for logged in events.iter_mut().filter(|logged| !is_pushed(&logged.body)) {
            if logged.body.ends_as().is_some() {
                self.requested.end = Some(logged.body.clone());
            } else if logged.body == EventBody::RunPaused {
                self.restart = true;
            }
        }
        events.retain(|logged| is_pushed(&logged.body));
        self.outbox.splice(..0, events);
        self.requested.flush = true;
    }

    fn absorb(&mut self, log: LogRead, now: Timestamp) {
        let foreign_claim = log.entries.iter().any(|entry| entry.is_claim() && entry.writer != self.claim);
        let news = !log.entries.is_empty();
        if let Some(last) = log.entries.last() {
            self.last = last.last();
            self.state = last.state.clone();
        }
        if self.state.status.is_terminal() {
            self.written.extend(log.entries.into_iter().map(Arc::new));
            self.end = self.written.last().cloned();
            return self.stop(Stop::Ended);
        }
        match self.phase {
            Phase::Unread => {
                if self.state.is_asleep() {
                    return self.stop(Stop::Paused);
                }
                if !(Guard::LeaseFree { claim: self.claim, now }).holds(&log.record) {
                    return self.stop(Stop::Superseded);
                }
                let attempts = attempts(&self.state, &log.record);
                if let Some(body) = verdict(&self.state, attempts, self.expires_at, now) {
                    return self.stop(Stop::Condemned { body: Box::new(body), rev: log.record.rev });
                }
                if attempts >= SUSPECT && !self.alone {
                    return self.stop(Stop::Suspected);
                }
                self.open_at(&log.record);
            }
            _ if foreign_claim => return self.stop(Stop::Superseded),
            Phase::Unclaimed if self.state.is_asleep() => {
                if self.held {
                    self.step = Step::Release { enqueue: false };
                } else {
                    self.stop(Stop::Paused);
                }
                return;
            }
            Phase::Unclaimed if news => {
                self.outbox.clear();
                self.requested = Requested { claim: self.claims_first(), ..Requested::default() };
                self.restart = true;
            }
            // Decided on a log that has grown since.
            Phase::Claimed if news => {
                self.restart |=
                    std::mem::take(&mut self.requested.pause) | self.requested.rest.take().is_some();
            }
            _ => {}
        }
        if self.phase == Phase::Claimed {
            self.written.extend(log.entries.iter().cloned().map(Arc::new));
        }
        let news: Vec<Logged> = log.entries.into_iter().flat_map(|entry| entry.events).collect();
        let before = self.outbox.len();
        self.outbox.retain(|mine| mine.key.is_none() || news.iter().all(|theirs| theirs.key != mine.key));
        self.acknowledged += (before - self.outbox.len()) as u64;
        self.absorbed.extend(news);
    }

    fn open_at(&mut self, record: &Record) {
        self.phase = Phase::Unclaimed;
        self.held = record.owner == Some(self.claim);
        self.found_due = record.due.filter(|_| record.owner.is_none());
        self.attempts = attempts(&self.state, record);
        self.claims_first = record.attempts > 0;
        self.journaled_before = self.state.journaled;
        self.usage = self.state.usage.clone();
        self.requested.claim = self.claims_first();
    }

    /// Returns when the run is due if it rests until then.
    fn rests_until(&self, until: Timestamp) -> Timestamp {
        wakes_at(&self.state, Some(until), self.expires_at)
    }

    /// Releases the run until then, unless the log that was read with this record has new entries.
    fn release(&mut self, record: &Record, until: Timestamp, now: Timestamp) {
        let due = self.rests_until(until);
        if record.owner.is_none() && record.due == Some(due) {
            // Already done, and the reply was lost.
            self.step = enqueue_rested(due, now);
        } else if record.owner != Some(self.claim) {
            // Already done, and the run was answered since: without the lease nothing is begun.
            self.restart = false;
            self.stop(Stop::Superseded);
        } else if record.upto > self.last {
            // A store may read the record slightly later than the entries.
            self.step = Step::ReadToRest { until };
        } else if self.requested.rest.is_some() {
            self.step = Step::Rest { until, due, rev: record.rev };
        }
    }

    /// Whether the run was already resting until then, and there is nothing to write: a worker that comes early changes
    /// nothing.
    fn rests_already(&self, until: Timestamp) -> bool {
        !self.held && self.outbox.is_empty() && self.found_due == Some(self.rests_until(until))
    }

    /// Returns the `attempts` of the record after a hand-over. Without progress it counts like a lost worker: otherwise
    /// a step longer than the platform's limit would be repeated forever. `None` keeps them: for a run that was not
    /// claimed, or whose process ends.
    fn attempts_after(&self) -> Option<(u32, Sequence)> {
        if self.phase != Phase::Claimed {
            return None;
        }
        let journaled = self.state.journaled;
        if journaled > self.journaled_before {
            return Some((0, journaled));
        }
        (self.requested.hand_over == Some(HandOver::OutOfTime)).then(|| (one_more(self.attempts), journaled))
    }

    fn stop(&mut self, stop: Stop) {
        self.phase = Phase::Stopped(stop);
        self.step = Step::Idle;
        self.requested = Requested::default();
        self.outbox.clear();
    }
}

/// Maximum bytes of the events of an entry, since readers of a log read whole entries. A single event may exceed it.
const MAX_ENTRY_BYTES: usize = 1 << 20;

/// Returns how many of these events fit into an entry, at least one, and whether the terminal event does not fit after
/// them.
fn fitting(events: &[Logged], end: Option<&EventBody>) -> (usize, bool) {
    let mut bytes = 0;
    for (index, logged) in events.iter().enumerate() {
        bytes += logged.bytes();
        if bytes > MAX_ENTRY_BYTES && index > 0 {
            return (index, true);
        }
    }
    let is_full = !events.is_empty() && end.is_some_and(|end| bytes + end.bytes() > MAX_ENTRY_BYTES);
    (events.len(), is_full)
}

const HAND_OVER: Step = Step::Enqueue { delay: Duration::ZERO, then: Stop::HandedOver };

fn enqueue_rested(due: Timestamp, now: Timestamp) -> Step {
    Step::Enqueue { delay: due.since(now), then: Stop::Resting }
}

/// Whether an event was pushed by the writer's user; the writer makes the others itself.
fn is_pushed(body: &EventBody) -> bool {
    !body.is_claim() && body.ends_as().is_none() && *body != EventBody::RunPaused
}
