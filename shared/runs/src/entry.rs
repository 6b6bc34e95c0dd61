//! The log of a run: its entries, and the run's state after each.

use crate::{ClaimId, EventBody, RequestId, RunEvent, RunId, RunStatus, Sequence, Size, Timestamp, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format that this release writes. A reader refuses a later one.
pub const ENTRY_VERSION: u32 = 1;

/// One append to a run's log: one or more events, and the run's state after them.
///
/// Stored under `(run, first)`. The sequences of two entries never overlap.
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
    /// The writer: a worker's claim, or an id made for one cancel or answer.
    #[serde(rename = "w")]
    pub writer: ClaimId,
    /// Distinguishes the entries of one writer, so that it recognizes its own after a lost reply.
    #[serde(rename = "n")]
    pub nonce: u64,
    /// When it was written.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The run's state after this entry.
    #[serde(rename = "s")]
    pub state: LogState,
    /// The events; never empty.
    #[serde(rename = "e")]
    pub events: Vec<Logged>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
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

    /// Returns its events after the sequence `after`, as callers see them.
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

    /// Whether both are the same append, possibly sent twice.
    pub fn is_same_append(&self, other: &Self) -> bool {
        self.writer == other.writer && self.nonce == other.nonce
    }

    /// Whether it makes a claim.
    pub fn is_claim(&self) -> bool {
        self.events.iter().any(|logged| logged.body.is_claim())
    }
}

/// An event in the log, with data that is stored but not shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Logged {
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
    /// Identifies a step of the run: a replay does not record the same key again.
    #[serde(default, rename = "k", skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The journal: what a replay needs to continue as if the step had just been done.
    #[serde(default, rename = "j", skip_serializing_if = "Option::is_none")]
    pub journal: Option<Value>,
}

impl Logged {
    /// Approximate size as JSON, in bytes.
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

/// An input request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "PendingForm", into = "PendingForm")]
pub struct Pending {
    /// The input request.
    pub request: RequestId,
    /// The sequence of the event that created it.
    pub sequence: Sequence,
    /// When it expires: from then on answers are refused.
    pub expires_at: Option<Timestamp>,
}

impl Pending {
    /// Whether answers are refused at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The serialized form of a [`Pending`]: an array.
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

/// The state of a run after an entry. The last entry of a log is enough to know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogState {
    /// The run's status.
    #[serde(rename = "st")]
    pub status: RunStatus,
    /// How often the run was claimed.
    #[serde(rename = "ep")]
    pub epoch: u32,
    /// The latest claim.
    #[serde(default, rename = "cl", skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimId>,
    /// Whether a paused run has been answered since it paused, so that a worker may claim it.
    #[serde(default, rename = "wk", skip_serializing_if = "std::ops::Not::not")]
    pub woken: bool,
    /// The input requests without an answer, oldest first.
    #[serde(default, rename = "pe", skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// The last sequence that has a journal: progress that a takeover does not repeat.
    #[serde(default, rename = "jo")]
    pub journaled: Sequence,
    /// Since when the run is being executed, by any worker; absent before the first claim and while it is paused.
    #[serde(default, rename = "si", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How many milliseconds it was executed before `since`.
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

    /// When the run has been executed for `limit`, without the time of waiting for people; `None` while it is not
    /// executed.
    pub fn deadline(&self, limit: std::time::Duration) -> Option<Timestamp> {
        self.since.map(|since| Timestamp(since.0 - self.active_ms) + limit)
    }

    /// When the first pending request expires, if any expires.
    pub fn expiry(&self) -> Option<Timestamp> {
        self.pending.iter().filter_map(|pending| pending.expires_at).min()
    }

    /// Returns the pending requests that have expired by `now`, oldest first.
    pub fn expired(&self, now: Timestamp) -> impl Iterator<Item = RequestId> + '_ {
        self.pending.iter().filter(move |pending| pending.is_expired(now)).map(|pending| pending.request)
    }

    /// Whether the run waits for a person, so that no worker may claim it.
    pub fn is_asleep(&self) -> bool {
        self.status == RunStatus::Paused && !self.woken
    }
}
