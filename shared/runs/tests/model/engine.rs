//! A deterministic engine that executes a script as with `RunContext` and its `Shared`, with keys as bits.

use crate::config::{Item, Script, rests_until};
use runyard_runs::{EventBody, InputRequest, InputRequestKind, Logged, RequestId, Timestamp};
use serde_json::Value;
use uuid::Uuid;

/// Recorded keys: a byte each for calls, questions, answers and waits.
pub type Keys = u32;

pub fn call_bit(call: u8) -> Keys {
    1 << call
}

pub fn ask_bit(ask: u8) -> Keys {
    1 << (8 + ask)
}

pub fn answer_bit(ask: u8) -> Keys {
    1 << (16 + ask)
}

pub fn wait_bit(rest: u8) -> Keys {
    1 << (24 + rest)
}

pub fn request(ask: u8) -> RequestId {
    RequestId(Uuid::from_u128(0x1000 + u128::from(ask)))
}

/// Returns the keys of events in a log.
pub fn keys_of(events: &[Logged]) -> Keys {
    events.iter().filter_map(|logged| logged.key.as_deref()).map(bit_of).fold(0, |keys, bit| keys | bit)
}

fn bit_of(key: &str) -> Keys {
    let number = |text: &str| text.parse::<u8>().expect("a key of this model");
    match key.split_at(1) {
        ("s", call) => call_bit(number(call)),
        ("q", ask) => ask_bit(number(ask)),
        ("w", rest) => wait_bit(number(rest)),
        _ => (0..8)
            .find(|ask| key == format!("answer:{}", request(*ask)))
            .map(answer_bit)
            .expect("a key of this model"),
    }
}

/// One execution of the script.
#[derive(Clone, Debug, Hash)]
pub struct Engine {
    pub branches: Vec<Branch>,
    /// The keys in the log, as far as they are known here.
    known: Keys,
    /// The keys that this execution recorded.
    keys: Keys,
    outbox: Vec<Logged>,
    pushed: u64,
    flush: bool,
    events: u64,
    claimed: bool,
}

#[derive(Clone, Debug, Hash)]
pub struct Branch {
    pub at: u8,
    pub stands: Stands,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stands {
    Ready,
    /// In `outside`, until this many events are written.
    Waits {
        target: u64,
    },
    /// `outside` has returned; the call may begin at any time.
    Granted,
    /// The call is being made.
    Calls,
    /// Asked; suspended for the rest of this execution.
    Asked,
    /// Waits for a point in time.
    Rests,
    Done,
}

/// The result of polling the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Waits,
    Completed,
    Suspended,
    /// Nothing can continue before this time.
    Resting(Timestamp),
    /// It killed its worker.
    Died,
}

impl Engine {
    pub fn new(script: Script, known: Keys, claimed: bool) -> Self {
        let branches = script.iter().map(|_| Branch { at: 0, stands: Stands::Ready }).collect();
        Self { branches, known, keys: 0, outbox: Vec::new(), pushed: 0, flush: false, events: 0, claimed }
    }

    pub fn absorb(&mut self, events: &[Logged]) {
        self.known |= keys_of(events);
    }

    pub fn wrote(&mut self, events: u64, claimed: bool) {
        self.events = self.events.max(events);
        self.claimed |= claimed;
    }

    /// Switches rule 11 off.
    pub fn grant(&mut self, claim: bool, journal: bool) {
        self.claimed |= claim;
        if journal {
            self.events = u64::MAX;
        }
    }

    pub fn take(&mut self) -> Vec<Logged> {
        self.flush = false;
        std::mem::take(&mut self.outbox)
    }

    /// Whether events wait to be taken, and whether a flush was requested.
    pub fn waiting(&self) -> (bool, bool) {
        (!self.outbox.is_empty(), self.flush)
    }

    /// Continues as far as it can without calls outside.
    pub fn poll(&mut self, script: Script, now: Timestamp) -> Turn {
        for (number, items) in script.iter().enumerate() {
            loop {
                let Branch { at, stands } = self.branches[number].clone();
                let (at, stands) = match (stands, items.get(usize::from(at))) {
                    (Stands::Ready, None) => (at, Stands::Done),
                    (Stands::Ready, Some(Item::Die)) => return Turn::Died,
                    (Stands::Ready, Some(Item::Call(call) | Item::Kill(call) | Item::Long(call))) => {
                        if self.known & call_bit(*call) != 0 {
                            (at + 1, Stands::Ready)
                        } else {
                            self.flush = true;
                            (at, Stands::Waits { target: self.pushed })
                        }
                    }
                    (Stands::Ready, Some(Item::Ask(ask))) => {
                        if self.known & answer_bit(*ask) != 0 {
                            (at + 1, Stands::Ready)
                        } else {
                            self.record(ask_bit(*ask), question(*ask));
                            (at, Stands::Asked)
                        }
                    }
                    (Stands::Rests, Some(Item::Rest(rest))) if now >= rests_until(*rest) => {
                        (at + 1, Stands::Ready)
                    }
                    (Stands::Ready, Some(Item::Rest(rest))) => {
                        if self.known & wait_bit(*rest) != 0 {
                            (at, Stands::Rests)
                        } else {
                            self.record(wait_bit(*rest), checkpoint(format!("w{rest}")));
                            self.flush = true;
                            (at, Stands::Waits { target: self.pushed })
                        }
                    }
                    (Stands::Waits { target }, Some(Item::Rest(_)))
                        if self.claimed && self.events >= target =>
                    {
                        (at, Stands::Rests)
                    }
                    (Stands::Waits { target }, _) if self.claimed && self.events >= target => {
                        (at, Stands::Granted)
                    }
                    _ => break,
                };
                self.branches[number] = Branch { at, stands };
            }
        }
        if self.branches.iter().all(|branch| branch.stands == Stands::Done) {
            return Turn::Completed;
        }
        let waits = |branch: &Branch| matches!(branch.stands, Stands::Done | Stands::Asked | Stands::Rests);
        if !self.branches.iter().all(waits) {
            return Turn::Waits;
        }
        let rests = self.branches.iter().zip(script).filter(|(branch, _)| branch.stands == Stands::Rests);
        let times = rests.filter_map(|(branch, items)| match items[usize::from(branch.at)] {
            Item::Rest(rest) => Some(rests_until(rest)),
            _ => None,
        });
        times.min().map_or(Turn::Suspended, Turn::Resting)
    }

    pub fn begin(&mut self, branch: usize) {
        self.branches[branch].stands = Stands::Calls;
    }

    pub fn finish(&mut self, branch: usize, call: u8) {
        let bit = call_bit(call);
        self.record(bit, checkpoint(format!("s{call}")));
        let branch = &mut self.branches[branch];
        branch.at += 1;
        branch.stands = Stands::Ready;
    }

    fn record(&mut self, bit: Keys, logged: Logged) {
        if (self.known | self.keys) & bit == 0 {
            self.keys |= bit;
            self.outbox.push(logged);
            self.pushed += 1;
        }
    }
}

fn checkpoint(key: String) -> Logged {
    Logged { body: EventBody::RunCheckpoint, key: Some(key), journal: Some(Value::Null) }
}

/// Returns the event of an answer.
pub fn received(request_id: RequestId) -> EventBody {
    EventBody::InputReceived {
        request_id,
        kind: InputRequestKind::HumanFeedback,
        approved: None,
        changes: serde_json::Map::new(),
        by: runyard_runs::Actor::default(),
    }
}

fn question(ask: u8) -> Logged {
    let request = InputRequest {
        id: request(ask),
        kind: InputRequestKind::HumanFeedback,
        prompt: String::new(),
        params: serde_json::Map::new(),
        editable_params: Vec::new(),
        schema: serde_json::Map::new(),
        accept_pattern: None,
        expires_at: None,
    };
    Logged {
        body: EventBody::AgentHumanFeedbackRequested { request },
        key: Some(format!("q{ask}")),
        journal: Some(Value::Null),
    }
}
