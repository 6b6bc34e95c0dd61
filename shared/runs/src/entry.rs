//! The log of a run: its entries, and the state that they add up to.

use crate::{ClaimId, EventBody, RequestId, RunEvent, RunId, RunStatus, Sequence, Size, Timestamp, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format that this release writes. A reader refuses a later one.
pub const ENTRY_VERSION: u32 = 1;

/// One append to a run's log: one or more events, and how the run stands after them.
///
/// Stored under `(run, first)`. Two entries never share a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The run.
    #[serde(skip, default = "nil_run")]
    pub run: RunId,
    /// The sequence of its first event.
    #[serde(skip)]
    pub first: Sequence,
    /// The format, [`ENTRY_VERSION`].
    #[serde(rename = "v")]
    pub version: u32,
    /// Who wrote it: a worker's claim, or an id made for one cancel or answer.
    #[serde(rename = "w")]
    pub writer: ClaimId,
    /// Tells the entries of one writer apart, so that it knows its own after a lost reply.
    #[serde(rename = "n")]
    pub nonce: u64,
    /// When it was written.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// How the run stands after it.
    #[serde(rename = "s")]
    pub state: LogState,
    /// What it records; never empty.
    #[serde(rename = "e")]
    pub events: Vec<Logged>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this form")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn nil_run() -> RunId {
    RunId(uuid::Uuid::nil())
}

impl Entry {
    /// The sequence of its last event.
    pub fn last(&self) -> Sequence {
        self.first + self.events.len() as Sequence - 1
    }

    /// Its events after `after`, as callers may see them.
    pub fn events_after(&self, after: Sequence) -> impl Iterator<Item = RunEvent> + '_ {
        self.events.iter().zip(self.first..).filter(move |(_, sequence)| *sequence > after).map(
            |(logged, sequence)| RunEvent {
                run: self.run,
                sequence,
                timestamp: self.at,
                body: logged.body.clone(),
            },
        )
    }

    /// Whether both are the same append, sent twice.
    pub fn is_same_append(&self, other: &Self) -> bool {
        self.writer == other.writer && self.nonce == other.nonce
    }

    /// Whether it begins a claim.
    pub fn is_claim(&self) -> bool {
        self.events.iter().any(|logged| logged.body.is_claim())
    }
}

/// An event in the log, with what must be remembered but is not shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Logged {
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
    /// Names a step of the run: a replay does not record a key a second time.
    #[serde(default, rename = "k", skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The journal: what a replay needs to go on as if the step had just been done.
    #[serde(default, rename = "j", skip_serializing_if = "Option::is_none")]
    pub journal: Option<Value>,
}

impl Logged {
    /// How many bytes it has as JSON, by and large.
    pub fn bytes(&self) -> usize {
        let journal = self.journal.as_ref().map_or(0, |journal| Size::of(journal).bytes);
        self.body.bytes() + self.key.as_ref().map_or(0, String::len) + journal
    }
}

impl From<EventBody> for Logged {
    fn from(body: EventBody) -> Self {
        Self { body, key: None, journal: None }
    }
}

/// A request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "PendingForm", into = "PendingForm")]
pub struct Pending {
    /// The request.
    pub request: RequestId,
    /// The sequence of the event that asks it.
    pub sequence: Sequence,
    /// From then on no answer is taken.
    pub expires_at: Option<Timestamp>,
}

impl Pending {
    /// Whether it takes no answer any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A [`Pending`] as the log keeps it: a list.
#[derive(Serialize, Deserialize)]
struct PendingForm(
    RequestId,
    Sequence,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<Timestamp>,
);

impl From<PendingForm> for Pending {
    fn from(PendingForm(request, sequence, expires_at): PendingForm) -> Self {
        Self { request, sequence, expires_at }
    }
}

impl From<Pending> for PendingForm {
    fn from(pending: Pending) -> Self {
        Self(pending.request, pending.sequence, pending.expires_at)
    }
}

/// How a run stands after an entry. The last entry of a log tells it alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogState {
    /// Where the run stands.
    #[serde(rename = "st")]
    pub status: RunStatus,
    /// How often the run was claimed.
    #[serde(rename = "ep")]
    pub epoch: u32,
    /// The latest claim.
    #[serde(default, rename = "cl", skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimId>,
    /// Whether a paused run was answered since: a worker may claim it.
    #[serde(default, rename = "wk", skip_serializing_if = "std::ops::Not::not")]
    pub woken: bool,
    /// The requests without an answer, oldest first.
    #[serde(default, rename = "pe", skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// The last sequence that journals something new: progress that a takeover does not repeat.
    #[serde(default, rename = "jo")]
    pub journaled: Sequence,
    /// Since when the run is being executed, by whomever; absent before the first claim and while it is paused.
    #[serde(default, rename = "si", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// For how many milliseconds it was executed before `since`.
    #[serde(default, rename = "ac", skip_serializing_if = "is_zero")]
    pub active_ms: i64,
    /// What the run has used.
    #[serde(default, rename = "us", skip_serializing_if = "Usage::is_empty")]
    pub usage: Usage,
}

impl Default for LogState {
    fn default() -> Self {
        Self {
            status: RunStatus::Created,
            epoch: 0,
            claim: None,
            woken: false,
            pending: Vec::new(),
            journaled: 0,
            since: None,
            active_ms: 0,
            usage: Usage::default(),
        }
    }
}

impl LogState {
    /// The state after `events`, the first of which has sequence `first`, written by `writer` at `at`.
    #[must_use]
    pub fn after(&self, writer: ClaimId, first: Sequence, at: Timestamp, events: &[Logged]) -> Self {
        let mut state = self.clone();
        for (logged, sequence) in events.iter().zip(first..) {
            if logged.journal.is_some() {
                state.journaled = sequence;
            }
            match &logged.body {
                EventBody::RunStarted | EventBody::RunResumed => {
                    state.status = RunStatus::Started;
                    state.epoch += 1;
                    state.claim = Some(writer);
                    state.woken = false;
                    state.since.get_or_insert(at);
                }
                EventBody::RunPaused => {
                    if let Some(since) = state.since.take() {
                        state.active_ms += at.0 - since.0;
                    }
                    state.status = RunStatus::Paused;
                    state.woken = false;
                }
                EventBody::InputReceived { request_id, .. } | EventBody::InputExpired { request_id } => {
                    state.pending.retain(|pending| pending.request != *request_id);
                    state.woken |= state.status == RunStatus::Paused;
                }
                body => {
                    if let Some(request) = body.request() {
                        let (request, expires_at) = (request.id, request.expires_at);
                        state.pending.push(Pending { request, sequence, expires_at });
                    } else if let Some(status) = body.ends_as() {
                        state.status = status;
                        state.pending.clear();
                    }
                }
            }
        }
        state
    }

    /// When the run has used up `limit`, waiting for people not counted; unknown while it is not executed.
    pub fn deadline(&self, limit: std::time::Duration) -> Option<Timestamp> {
        self.since.map(|since| Timestamp(since.0 - self.active_ms) + limit)
    }

    /// When the first of the pending requests expires, if any does.
    pub fn expiry(&self) -> Option<Timestamp> {
        self.pending.iter().filter_map(|pending| pending.expires_at).min()
    }

    /// The pending requests that have expired by `now`, oldest first.
    pub fn expired(&self, now: Timestamp) -> impl Iterator<Item = RequestId> + '_ {
        self.pending.iter().filter(move |pending| pending.is_expired(now)).map(|pending| pending.request)
    }

    /// Whether the run waits for a person, and no worker may claim it.
    pub fn is_asleep(&self) -> bool {
        self.status == RunStatus::Paused && !self.woken
    }
}
