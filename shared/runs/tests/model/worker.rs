//! An executor: the real `Writer`, with the decisions of `service/execute.rs` step by step.

use crate::{
    config::{Config, Item, Off, expires_at},
    engine::{Engine, Keys, Stands, Turn, keys_of},
    store::Role,
};
use runyard_runs::{
    ClaimId, Entry, EventBody, Logged, RunError, RunId, Timestamp, Usage,
    protocol::{Ended, Ender, LOST_ONE, Machine, Next, Op, Reply, Stop, Writer},
};
use std::sync::Arc;
use uuid::Uuid;

/// The ids of workers are below this, those of other participants above.
pub const FIRST_ACTOR: u128 = 0x1_0000_0000;

#[derive(Clone, Debug, Hash)]
pub struct Worker {
    pub run: RunId,
    pub claim: ClaimId,
    pub writer: Writer,
    pub phase: Phase,
    /// The operation that has no reply yet.
    pub flight: Option<Op>,
    /// Whether it was requested to hand over.
    pub told: bool,
    /// By how many milliseconds its clock is ahead.
    pub ahead: i64,
    /// Calls that it began after others had superseded it or ended the run, by branch.
    pub late: [u8; 2],
    /// The calls that it began.
    pub began: Keys,
    /// The run's place among those that have lost workers.
    pub place: Place,
    /// When the lease was last taken or renewed.
    pub renewed_at: Timestamp,
    /// The journal that the next attempt starts from.
    journal: Keys,
    sent: Option<(u64, u64)>,
}

/// The place of a run among those that have lost workers, as in `service/suspects.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    None,
    /// The place of a run that has lost one worker.
    LostOne,
    /// The place of a suspect.
    Alone,
}

#[derive(Clone, Debug, Hash)]
#[expect(clippy::large_enum_variant, reason = "a worker is behind a pointer")]
pub enum Phase {
    /// The first `settle` of `run`.
    Opening,
    /// The top of the loop in `run`.
    Enter,
    /// `settle` for a claim before anything is executed.
    Claiming,
    /// `attempt`.
    Attempt(Attempt),
    /// `settle` in `reread`.
    Flushing,
    /// The read in `reread`.
    Rereading,
    /// A condemned run is ended.
    Ending(Ender),
    Over,
}

#[derive(Clone, Debug, Hash)]
pub struct Attempt {
    pub engine: Option<Engine>,
    answered: bool,
    handing_over: bool,
    before: u64,
}

/// What happens to the run after the engine has returned.
#[expect(clippy::large_enum_variant, reason = "it is consumed at once")]
enum Conclusion {
    Ends(EventBody),
    Waits,
    Rests(Timestamp),
}

/// The effects of a worker's turn on the world.
#[derive(Debug, Default)]
pub struct Turned {
    /// Entries that are shown to followers.
    pub shown: Vec<Arc<Entry>>,
    /// An operation that was abandoned without a reply: it may or may not be performed.
    pub abandoned: Option<Op>,
    pub died: bool,
}

impl Worker {
    pub fn new(
        run: RunId,
        number: u32,
        writer: impl FnOnce(RunId, ClaimId, Timestamp) -> Writer,
        ahead: i64,
    ) -> Self {
        let claim = ClaimId(Uuid::from_u128(u128::from(number)));
        Self {
            run,
            claim,
            writer: writer(run, claim, expires_at()),
            phase: Phase::Opening,
            flight: None,
            told: false,
            ahead,
            late: [0; 2],
            began: 0,
            place: Place::None,
            renewed_at: Timestamp(0),
            journal: 0,
            sent: None,
        }
    }

    pub fn role(&self) -> Role {
        if matches!(self.phase, Phase::Ending(_)) { Role::Ender } else { Role::Writer }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    pub fn engine(&self) -> Option<&Engine> {
        match &self.phase {
            Phase::Attempt(attempt) => attempt.engine.as_ref(),
            _ => None,
        }
    }

    pub fn engine_mut(&mut self) -> Option<&mut Engine> {
        match &mut self.phase {
            Phase::Attempt(attempt) => attempt.engine.as_mut(),
            _ => None,
        }
    }

    /// Returns the branch and the item of each branch in this state.
    pub fn calls(&self, config: &Config, stands: Stands) -> Vec<(usize, Item)> {
        let Some(engine) = self.engine() else { return Vec::new() };
        let branches = engine.branches.iter().enumerate().filter(|(_, branch)| branch.stands == stands);
        branches
            .map(|(number, branch)| (number, config.script_of(self.run)[number][usize::from(branch.at)]))
            .collect()
    }

    /// Continues as far as possible without a reply.
    pub fn advance(&mut self, now: Timestamp, config: &Config, turned: &mut Turned) {
        loop {
            match &mut self.phase {
                Phase::Opening | Phase::Claiming | Phase::Flushing => {
                    if self.flight.is_some() {
                        return;
                    }
                    if let Some(op) = self.writer.next(now) {
                        self.flight = Some(op);
                        return;
                    }
                    let absorbed = self.writer.take_absorbed();
                    self.phase = match self.phase {
                        Phase::Opening => {
                            self.journal = keys_of(&absorbed);
                            Phase::Enter
                        }
                        Phase::Claiming => Phase::Enter,
                        _ => {
                            self.flight = Some(Op::Read { from: 1 });
                            Phase::Rereading
                        }
                    };
                }
                Phase::Enter => self.enter(now, config),
                Phase::Rereading => return,
                Phase::Attempt(_) => {
                    if !self.attempt(now, config, turned) {
                        return;
                    }
                }
                Phase::Ending(ender) => {
                    if self.flight.is_some() {
                        return;
                    }
                    match ender.next(now) {
                        Next::Do(op) => {
                            self.flight = Some(op);
                            return;
                        }
                        Next::Done(ended) => {
                            if let Ended::Now(entry) = ended {
                                turned.shown.push(entry);
                            }
                            self.phase = Phase::Over;
                        }
                    }
                }
                Phase::Over => return,
            }
        }
    }

    fn enter(&mut self, now: Timestamp, config: &Config) {
        self.phase = if !self.writer.is_open() {
            match self.writer.stopped() {
                Some(Stop::Condemned { body, rev }) => {
                    let id = ClaimId(Uuid::from_u128(self.claim.0.as_u128() + FIRST_ACTOR));
                    Phase::Ending(Ender::at_rev(self.run, id, EventBody::clone(body), *rev))
                }
                _ => Phase::Over,
            }
        } else if self.writer.claims_first() && !self.writer.is_claimed() {
            self.writer.flush(true);
            Phase::Claiming
        } else {
            self.renewed_at = now;
            if config.off != Some(Off::StartOverOnce) {
                self.writer.take_restart();
            }
            let mut engine = Engine::new(config.script_of(self.run), self.journal, self.writer.is_claimed());
            engine
                .grant(config.off == Some(Off::ClaimBeforeCall), config.off == Some(Off::JournalBeforeCall));
            Phase::Attempt(Attempt {
                engine: Some(engine),
                answered: false,
                handing_over: false,
                before: self.writer.acknowledged(),
            })
        };
    }

    /// One iteration of the loop in `attempt`. Returns whether there may be another.
    fn attempt(&mut self, now: Timestamp, config: &Config, turned: &mut Turned) -> bool {
        let script = config.script_of(self.run);
        let Self { phase: Phase::Attempt(attempt), writer, flight, .. } = self else { return true };
        let turn = attempt.engine.as_mut().map(|engine| engine.poll(script, now));
        if turn == Some(Turn::Died) {
            turned.died = true;
            return false;
        }
        if attempt.engine.is_some()
            && !writer.is_open()
            && let Some(mut engine) = attempt.engine.take()
        {
            writer.push(engine.take(), Usage::default());
        }
        if flight.is_none() {
            if let Some(engine) = &mut attempt.engine
                && engine.waiting().1
            {
                writer.push(engine.take(), Usage::default());
                writer.flush(true);
            }
            *flight = writer.next(now);
            if config.off == Some(Off::WrittenFirst)
                && let Some(Op::Append(entry) | Op::Commit(entry, ..)) = flight
            {
                turned.shown.push(Arc::clone(entry));
            }
        }
        if writer.stopped().is_some() {
            self.phase = Phase::Enter;
            return true;
        }
        let end = match turn {
            Some(Turn::Completed) => {
                Some(Conclusion::Ends(EventBody::RunCompleted { output: serde_json::Value::Null.into() }))
            }
            Some(Turn::Suspended) => Some(Conclusion::Waits),
            Some(Turn::Resting(until)) => Some(Conclusion::Rests(until)),
            _ => None,
        };
        if let Some(end) = end
            && let Some(mut engine) = attempt.engine.take()
        {
            writer.push(engine.take(), Usage::default());
            match end {
                Conclusion::Ends(body) => writer.end(body),
                _ if attempt.answered && config.off != Some(Off::DecideAnew) => {
                    // The operation in flight is abandoned; the writer requests it again.
                    turned.abandoned = flight.take();
                    writer.flush(false);
                    self.phase = Phase::Flushing;
                }
                Conclusion::Waits => writer.pause(),
                Conclusion::Rests(until) => writer.rest(until),
            }
            return true;
        }
        if self.told && !attempt.handing_over {
            attempt.handing_over = true;
            if let Some(mut engine) = attempt.engine.take() {
                writer.push(engine.take(), Usage::default());
            }
            writer.hand_over();
            return true;
        }
        false
    }

    /// Frees its place once the run has made progress, or has been cleared.
    pub fn leave_place(&mut self) {
        let attempts = self.writer.attempts();
        let cleared = self.place == Place::Alone && attempts == LOST_ONE;
        if self.writer.is_claimed() && (attempts < LOST_ONE || cleared) {
            self.place = Place::None;
        }
    }

    /// Ends its probation.
    pub fn outlive_probation(&mut self, config: &Config) {
        if self.place == Place::LostOne || config.off == Some(Off::ClearBeforeNext) {
            self.place = Place::None;
        }
        self.writer.clear();
    }

    /// Writes waiting events although none is urgent.
    pub fn gather(&mut self) {
        let Self { phase: Phase::Attempt(attempt), writer, .. } = self else { return };
        if let Some(engine) = &mut attempt.engine {
            writer.push(engine.take(), Usage::default());
            writer.flush(true);
        }
    }

    /// Ends the run at its deadline.
    pub fn time_out(&mut self) {
        let Self { phase: Phase::Attempt(attempt), writer, .. } = self else { return };
        if let Some(mut engine) = attempt.engine.take() {
            writer.push(engine.take(), Usage::default());
            writer.end(EventBody::RunFailed { error: RunError::new("timeout", "") });
        }
    }

    /// Takes the reply to the operation in flight.
    pub fn reply(&mut self, op: Op, reply: Reply, now: Timestamp, config: &Config, turned: &mut Turned) {
        let reply = self.mistaken(&op, reply, config);
        match &mut self.phase {
            Phase::Ending(ender) => return ender.reply(op, reply, now),
            Phase::Rereading => {
                match reply {
                    Reply::Log(log) => {
                        let events: Vec<Logged> =
                            log.entries.into_iter().flat_map(|entry| entry.events).collect();
                        self.journal = keys_of(&events);
                    }
                    Reply::NoRun => self.journal = 0,
                    _ => {
                        self.flight = Some(op);
                        return;
                    }
                }
                self.phase = Phase::Enter;
                return;
            }
            _ => {}
        }
        if matches!((&op, &reply), (Op::Update(change, _), Reply::Done) if change.attempts.is_none()) {
            self.renewed_at = now;
        }
        self.writer.reply(reply, now);
        turned.shown.extend(self.writer.take_written());
        let Phase::Attempt(attempt) = &mut self.phase else { return };
        let absorbed = self.writer.take_absorbed();
        attempt.answered |=
            absorbed.iter().any(|logged| matches!(logged.body, EventBody::InputReceived { .. }));
        if let Some(engine) = &mut attempt.engine {
            engine.absorb(&absorbed);
            engine.wrote(self.writer.acknowledged() - attempt.before, self.writer.is_claimed());
        }
        if !self.writer.take_restart() {
            return;
        }
        match config.off {
            // The pause is sent again without a new decision.
            Some(Off::DecideAnew) if attempt.engine.is_none() => self.writer.pause(),
            // The replay continues unchanged.
            Some(Off::DiscardReplay) => self.writer.flush(true),
            _ => {
                self.writer.flush(false);
                self.phase = Phase::Flushing;
            }
        }
    }

    /// Returns the reply as a worker misreads it while a rule is switched off.
    fn mistaken(&mut self, op: &Op, reply: Reply, config: &Config) -> Reply {
        let (Op::Append(entry) | Op::Commit(entry, ..)) = op else { return reply };
        let is_again = self.sent == Some((entry.first, entry.nonce));
        self.sent = Some((entry.first, entry.nonce));
        match (config.off, reply) {
            (Some(Off::LookAfterTimeOut), Reply::Unknown) => Reply::Done,
            (Some(Off::LookAfterCollision), Reply::Taken) if is_again || config.budget.lost == 0 => {
                Reply::Done
            }
            (Some(Off::RefusedStops), Reply::Refused) => Reply::Done,
            (_, reply) => reply,
        }
    }

    /// Begins the call of a branch.
    pub fn begin(&mut self, branch: usize) {
        if let Some(engine) = self.engine_mut() {
            engine.begin(branch);
        }
    }

    pub fn finish(&mut self, branch: usize, call: u8) {
        if let Some(engine) = self.engine_mut() {
            engine.finish(branch, call);
        }
    }
}
