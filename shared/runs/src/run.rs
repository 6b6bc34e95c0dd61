//! A run as callers see it.

use crate::{AppId, File, RequestId, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// The status of a run, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted; no worker has claimed it yet.
    Created,
    /// Claimed by a worker at least once.
    Started,
    /// It cannot continue without a person's answer; no worker holds it.
    Paused,
    /// Ended with an output.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended at a caller's request.
    Canceled,
}

impl RunStatus {
    /// Whether the run has ended: its log is sealed.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }

    /// Returns the status that callers see: a started or paused run with an unanswered request is `awaiting_input`.
    pub fn reported(self, unanswered: bool) -> ReportedStatus {
        match self {
            Self::Started | Self::Paused if unanswered => ReportedStatus::AwaitingInput,
            Self::Created => ReportedStatus::Created,
            Self::Started => ReportedStatus::Started,
            Self::Paused => ReportedStatus::Paused,
            Self::Completed => ReportedStatus::Completed,
            Self::Failed => ReportedStatus::Failed,
            Self::Canceled => ReportedStatus::Canceled,
        }
    }
}

/// The status of a run, as callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedStatus {
    /// See [`RunStatus::Created`].
    Created,
    /// See [`RunStatus::Started`].
    Started,
    /// Started or paused, with an unanswered input request. Never stored.
    AwaitingInput,
    /// See [`RunStatus::Paused`].
    Paused,
    /// See [`RunStatus::Completed`].
    Completed,
    /// See [`RunStatus::Failed`].
    Failed,
    /// See [`RunStatus::Canceled`].
    Canceled,
}

impl ReportedStatus {
    /// All statuses, in their sort order.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Started,
        Self::AwaitingInput,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
    ];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::AwaitingInput => "awaiting_input",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// The kind of failure, in `snake_case`: `node_failed`, `timeout`, `expired`, `worker_lost`, …
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// The id of the node that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl RunError {
    /// An error of the run as a whole.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), node: None }
    }
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InputRequest {
    /// Unique for each question.
    pub id: RequestId,
    /// The kind of answer that is expected.
    #[serde(rename = "type")]
    pub kind: InputRequestKind,
    /// The question.
    pub prompt: String,
    /// What is to be approved, or further data of the question.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// The names of the `params` that the answer may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub editable_params: Vec<String>,
    /// The schema of changed `params`, where it is known: `{properties, $defs?, definitions?}` of a JSON Schema. A
    /// param that is not in it keeps its type.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub schema: Map<String, Value>,
    /// The feedback that approves, for an answer that has no `approved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_pattern: Option<String>,
    /// When it expires: from then on answers are refused, and the run continues without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The kinds of [`InputRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputRequestKind {
    /// Answered with `approval`.
    ApprovalRequest,
    /// Answered with `human_feedback`.
    HumanFeedback,
}

/// What a run has used, summed over its LLM calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Usage {
    /// The sum over all models.
    #[serde(flatten)]
    pub total: ModelUsage,
    /// The usage of each model, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelUsage>,
}

impl Usage {
    /// Adds the usage of a call to `model`.
    pub fn add(&mut self, model: &str, used: &ModelUsage) {
        self.total.add(used);
        self.models.entry(model.to_owned()).or_default().add(used);
    }

    /// Whether no call was made.
    pub fn is_empty(&self) -> bool {
        self.total.llm_calls == 0
    }
}

/// The usage of all calls to one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelUsage {
    /// Calls that were answered.
    pub llm_calls: u64,
    /// Tokens sent, cached ones included.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Of the tokens sent, those that the provider had cached.
    pub cached_tokens: u64,
    /// Of the tokens sent, those that the provider charged a higher price for, because it cached them.
    #[serde(default, skip_serializing_if = "CacheWrites::is_none")]
    pub cache_writes: CacheWrites,
    /// The cost in billionths of a US dollar, where a price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_nanodollars: Option<u64>,
}

/// Tokens that a provider cached, by how long it keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CacheWrites {
    /// Tokens kept for some minutes.
    pub short: u64,
    /// Tokens kept for an hour.
    pub long: u64,
}

impl CacheWrites {
    fn is_none(&self) -> bool {
        self.short == 0 && self.long == 0
    }
}

impl ModelUsage {
    /// What providers tell is not to be trusted: a sum that is too large stays at the largest.
    fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.llm_calls, other.llm_calls),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.cache_writes.short, other.cache_writes.short),
            (&mut self.cache_writes.long, other.cache_writes.long),
        ] {
            *sum = sum.saturating_add(more);
        }
        if let Some(cost) = other.cost_nanodollars {
            self.cost_nanodollars = Some(self.cost_nanodollars.unwrap_or(0).saturating_add(cost));
        }
    }
}

/// The request that created a run: the part of a run that never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewRun {
    /// The run.
    pub id: RunId,
    /// The app that it runs.
    pub app: AppId,
    /// The version of the app; a run stays on the version that it started with.
    pub app_version: String,
    /// When it was created, which its callers see as `started_at`.
    pub created_at: Timestamp,
    /// When it expires: from then on it fails if it has not ended, and all its data may be deleted if it has.
    pub expires_at: Timestamp,
    /// The input, by field of the app's Input node.
    pub input: Arc<Map<String, Value>>,
    /// The caller's own identifier of its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The session (conversation) that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<uuid::Uuid>,
    /// Metadata of the caller: names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The files that it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// The run that it retries: steps that are done in that run's log are not done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RunId>,
    /// Who created it; this decides what other callers may do with it.
    #[serde(default, skip_serializing_if = "Origin::is_key")]
    pub origin: Origin,
}

/// Who created a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A caller with an access key; also for runs of earlier releases, which did not record it.
    #[default]
    Key,
    /// A caller without a key, on a public app. Callers without a key may cancel it and answer its questions. Its
    /// `user_id` is not trusted.
    Anonymous,
    /// A caller with a key, as a retry of a run that was created without one. Only callers with a key may act on it.
    /// Its `user_id` is still not trusted.
    RetriedAnonymous,
}

impl Origin {
    /// Whether the run's `user_id` was given by a caller with a key.
    pub fn vouches_for_user(self) -> bool {
        self == Self::Key
    }

    /// Returns the origin of a retry, by a caller with a key, of a run of this origin.
    #[must_use]
    pub fn retried(self) -> Self {
        match self {
            Self::Key => Self::Key,
            Self::Anonymous | Self::RetriedAnonymous => Self::RetriedAnonymous,
        }
    }

    /// Whether it is the default, which is not serialized.
    pub fn is_key(&self) -> bool {
        *self == Self::Key
    }
}

/// The caller that acts on a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The public part of the access key; `None` for a caller without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The caller's own identifier of its user, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

impl Actor {
    /// Whether nothing is known about the caller.
    pub fn is_unknown(&self) -> bool {
        self.key.is_none() && self.user_id.is_none()
    }
}

/// A run as callers see it: its request and its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The request that created it.
    pub new: NewRun,
    /// The status as stored; [`Run::reported_status`] is what callers see.
    pub status: RunStatus,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its output, once completed.
    pub output: Option<Arc<Value>>,
    /// Why it failed, once failed.
    pub error: Option<RunError>,
    /// Its usage so far.
    pub usage: Usage,
    /// The unanswered questions, oldest first.
    pub input_requests: Vec<InputRequest>,
}

impl Run {
    /// The status that callers see.
    pub fn reported_status(&self) -> ReportedStatus {
        self.status.reported(!self.input_requests.is_empty())
    }

    /// Whether the run cannot continue by itself: it has ended, or waits for a person.
    pub fn is_settled(&self) -> bool {
        self.status.is_terminal() || (self.status == RunStatus::Paused && !self.input_requests.is_empty())
    }
}
