//! All participants except the executors: each drives one of the real machines, as `service/drive.rs` does.

use crate::{engine, store::Role, worker::FIRST_ACTOR};
use runyard_runs::{
    ClaimId, EventBody, IdempotencyItem, RunId, Timestamp,
    protocol::{Answered, Answerer, CreateOutcome, Creator, Ended, Ender, Machine, Next, Op, Reply, Sweep},
};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

#[derive(Clone, Debug, Hash)]
pub struct Actor {
    pub run: RunId,
    pub doing: Doing,
    /// The operation that has no reply yet.
    pub flight: Option<Op>,
    pub ahead: i64,
}

#[derive(Clone, Debug, Hash)]
pub enum Doing {
    Create { machine: Creator, request: u8, sync: Option<u32>, key: Option<u8> },
    Cancel(Ender),
    Answer { machine: Answerer, ask: u8, writer: ClaimId },
    Sweep(Sweep),
}

/// The outcome of an actor's machine.
#[derive(Clone, Debug)]
pub enum Outcome {
    Create(CreateOutcome),
    Cancel(Ended),
    Answer(Answered),
    Sweep,
}

pub fn run_id(number: u8) -> RunId {
    RunId(Uuid::from_u128(0x2000 + u128::from(number)))
}

fn writer_id(kind: u128, number: u32) -> ClaimId {
    ClaimId(Uuid::from_u128(kind * 2 * FIRST_ACTOR + u128::from(number)))
}

impl Actor {
    pub fn create(number: u8, request: u8, sync: Option<u32>, key: Option<u8>, now: Timestamp) -> Self {
        let run = run_id(number);
        let item = key.map(|hash| IdempotencyItem {
            key: [7; 32],
            run,
            request: [hash; 32],
            bound_at: now,
            valid_since: now - Duration::from_hours(24),
        });
        let owner = sync.map(|claim| ClaimId(Uuid::from_u128(u128::from(claim))));
        let machine = Creator::new(run, owner, item);
        Self::of(run, Doing::Create { machine, request, sync, key }, 0)
    }

    pub fn cancel(number: u32) -> Self {
        let machine = Ender::new(run_id(0), writer_id(1, number), EventBody::RunCanceled);
        Self::of(run_id(0), Doing::Cancel(machine), 0)
    }

    pub fn answer(number: u32, ask: u8) -> Self {
        let (writer, request) = (writer_id(2, number), engine::request(ask));
        let machine =
            Answerer::new(run_id(0), writer, request, engine::received(request), Value::from(number));
        Self::of(run_id(0), Doing::Answer { machine, ask, writer }, 0)
    }

    pub fn sweep(run: RunId, number: u32, ahead: i64) -> Self {
        Self::of(run, Doing::Sweep(Sweep::new(run, writer_id(3, number))), ahead)
    }

    fn of(run: RunId, doing: Doing, ahead: i64) -> Self {
        Self { run, doing, flight: None, ahead }
    }

    pub fn role(&self) -> Role {
        match &self.doing {
            Doing::Create { request, .. } => Role::Creator { request: *request },
            Doing::Cancel(_) => Role::Ender,
            Doing::Answer { .. } => Role::Answerer,
            Doing::Sweep(_) => Role::Sweeper,
        }
    }

    /// Continues until the machine requests an operation or is done; returns the outcome if it is done.
    pub fn advance(&mut self, now: Timestamp) -> Option<Outcome> {
        if self.flight.is_some() {
            return None;
        }
        let outcome = match &self.doing {
            Doing::Create { machine, .. } => {
                self.run = machine.run();
                machine.next(now).map(Outcome::Create)
            }
            Doing::Cancel(machine) => machine.next(now).map(Outcome::Cancel),
            Doing::Answer { machine, .. } => machine.next(now).map(Outcome::Answer),
            Doing::Sweep(machine) => machine.next(now).map(|_| Outcome::Sweep),
        };
        match outcome {
            Next::Do(op) => {
                self.flight = Some(op);
                None
            }
            Next::Done(outcome) => Some(outcome),
        }
    }

    pub fn reply(&mut self, op: Op, reply: Reply, now: Timestamp) {
        match &mut self.doing {
            Doing::Create { machine, .. } => machine.reply(op, reply, now),
            Doing::Cancel(machine) => machine.reply(op, reply, now),
            Doing::Answer { machine, .. } => machine.reply(op, reply, now),
            Doing::Sweep(machine) => machine.reply(op, reply, now),
        }
    }
}

trait Map<T> {
    fn map<U>(self, with: impl FnOnce(T) -> U) -> Next<U>;
}

impl<T> Map<T> for Next<T> {
    fn map<U>(self, with: impl FnOnce(T) -> U) -> Next<U> {
        match self {
            Next::Do(op) => Next::Do(op),
            Next::Done(outcome) => Next::Done(with(outcome)),
        }
    }
}
