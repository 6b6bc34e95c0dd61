//! Runs, files, and the responses that contain them.

use super::{optional_time, time};
use runyard_runs as runs;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// One execution of an app.
#[derive(Serialize, ToSchema)]
pub(crate) struct Run<'a> {
    id: Uuid,
    app_id: Uuid,
    status: RunStatus,
    /// When the run was created.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime, example = "2026-06-10T09:15:21Z")]
    started_at: runs::Timestamp,
    /// When it ended.
    #[serde(serialize_with = "optional_time", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    ended_at: Option<runs::Timestamp>,
    /// Keys are the fields of the app's Input node.
    #[schema(value_type = HashMap<String, Value>)]
    input: &'a Map<String, Value>,
    /// The output, once completed: any JSON value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    output: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<RunError<'a>>,
    /// The caller's own user identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<&'a str>,
    /// The conversation that the run belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session_id: Option<Uuid>,
    /// The caller's own metadata.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = HashMap<String, String>, required = false)]
    metadata: &'a BTreeMap<String, String>,
    /// The files that it may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    files: Vec<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    usage: Option<Usage<'a>>,
    /// The run that it retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_of: Option<Uuid>,
    /// Unanswered questions, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    input_requests: Vec<InputRequest<'a>>,
}

impl<'a> From<&'a runs::Run> for Run<'a> {
    fn from(run: &'a runs::Run) -> Self {
        let new = &run.new;
        Self {
            id: new.id.0,
            app_id: new.app.0,
            status: run.reported_status().into(),
            started_at: new.created_at,
            ended_at: run.ended_at,
            input: &new.input,
            output: run.output.as_deref(),
            error: run.error.as_ref().map(RunError::from),
            user_id: new.user_id.as_deref(),
            session_id: new.session_id,
            metadata: &new.metadata,
            files: new.files.iter().map(File::from).collect(),
            usage: (!run.usage.is_empty()).then(|| Usage::from(&run.usage)),
            retry_of: new.retry_of.map(|run| run.0),
            input_requests: run.input_requests.iter().map(InputRequest::from).collect(),
        }
    }
}

/// Status of a run. `awaiting_input` is a started or paused run with an unanswered input request; `completed`, `failed` and
/// `canceled` are terminal.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunStatus {
    Created,
    Started,
    AwaitingInput,
    Paused,
    Completed,
    Failed,
    Canceled,
}

impl From<runs::ReportedStatus> for RunStatus {
    fn from(status: runs::ReportedStatus) -> Self {
        match status {
            runs::ReportedStatus::Created => Self::Created,
            runs::ReportedStatus::Started => Self::Started,
            runs::ReportedStatus::AwaitingInput => Self::AwaitingInput,
            runs::ReportedStatus::Paused => Self::Paused,
            runs::ReportedStatus::Completed => Self::Completed,
            runs::ReportedStatus::Failed => Self::Failed,
            runs::ReportedStatus::Canceled => Self::Canceled,
        }
    }
}

/// Why a run, a node or a tool failed.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunError<'a> {
    /// The kind of failure, in `snake_case`: `node_failed`, `timeout`, `expired`, `worker_lost`, …
    #[schema(example = "node_failed")]
    code: &'a str,
    /// What happened, for a person.
    message: &'a str,
    /// The id of the node that failed, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    node: Option<&'a str>,
}

impl<'a> From<&'a runs::RunError> for RunError<'a> {
    fn from(error: &'a runs::RunError) -> Self {
        Self { code: &error.code, message: &error.message, node: error.node.as_deref() }
    }
}

/// A stored file.
#[derive(Serialize, ToSchema)]
pub(crate) struct File<'a> {
    id: Uuid,
    /// The name that it was uploaded with, without a path.
    #[schema(example = "report.pdf")]
    name: &'a str,
    /// In bytes.
    size: u64,
    /// The media type that it was uploaded with.
    #[schema(example = "application/pdf")]
    mime_type: &'a str,
}

impl<'a> From<&'a runs::File> for File<'a> {
    fn from(file: &'a runs::File) -> Self {
        Self { id: file.id.0, name: &file.name, size: file.size, mime_type: &file.mime_type }
    }
}

/// Usage of a run's LLM calls.
#[derive(Serialize, ToSchema)]
pub(crate) struct Usage<'a> {
    #[serde(flatten)]
    total: ModelUsage,
    /// The same by model.
    #[schema(value_type = HashMap<String, ModelUsage>)]
    models: BTreeMap<&'a str, ModelUsage>,
}

/// Usage of LLM calls.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelUsage {
    /// Calls that were answered.
    llm_calls: u64,
    /// Tokens sent, cached ones included.
    input_tokens: u64,
    /// Tokens received.
    output_tokens: u64,
    /// Of the tokens sent, those that the provider had cached.
    cached_tokens: u64,
    /// In US dollars; omitted if no price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cost_usd: Option<f64>,
}

impl<'a> From<&'a runs::Usage> for Usage<'a> {
    fn from(usage: &'a runs::Usage) -> Self {
        let models = usage.models.iter().map(|(model, used)| (model.as_str(), used.into())).collect();
        Self { total: (&usage.total).into(), models }
    }
}

impl From<&runs::ModelUsage> for ModelUsage {
    fn from(usage: &runs::ModelUsage) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "exact up to nine million dollars")]
        let cost_usd = usage.cost_nanodollars.map(|nanodollars| nanodollars as f64 / 1e9);
        Self {
            llm_calls: usage.llm_calls,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
            cost_usd,
        }
    }
}

/// A question to a person; `POST /v1/runs/{run_id}/input` answers it.
#[derive(Serialize, ToSchema)]
pub(crate) struct InputRequest<'a> {
    /// Unique for each question asked.
    id: Uuid,
    r#type: InputRequestType,
    /// The question.
    prompt: &'a str,
    /// What is to be approved; for a question with options, they are under `questions`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = HashMap<String, Value>, required = false)]
    params: &'a Map<String, Value>,
    /// The names of the `params` that the answer may change.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    editable_params: &'a [String],
    /// From then on no answer is accepted, and the run continues or fails without one.
    #[serde(serialize_with = "optional_time", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    expires_at: Option<runs::Timestamp>,
}

/// `approval_request` is answered with `approval`, `human_feedback` with `human_feedback`.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InputRequestType {
    ApprovalRequest,
    HumanFeedback,
}

impl From<runs::InputRequestKind> for InputRequestType {
    fn from(kind: runs::InputRequestKind) -> Self {
        match kind {
            runs::InputRequestKind::ApprovalRequest => Self::ApprovalRequest,
            runs::InputRequestKind::HumanFeedback => Self::HumanFeedback,
        }
    }
}

impl<'a> From<&'a runs::InputRequest> for InputRequest<'a> {
    fn from(request: &'a runs::InputRequest) -> Self {
        Self {
            id: request.id.0,
            r#type: request.kind.into(),
            prompt: &request.prompt,
            params: &request.params,
            editable_params: &request.editable_params,
            expires_at: request.expires_at,
        }
    }
}

/// A run.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunAnswer<'a> {
    pub(crate) data: Run<'a>,
}

/// A page of runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunList<'a> {
    pub(crate) data: Vec<Run<'a>>,
    pub(crate) pagination: Pagination,
}

/// A stored file.
#[derive(Serialize, ToSchema)]
pub(crate) struct FileAnswer<'a> {
    pub(crate) data: File<'a>,
}

/// A confirmation.
#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    #[schema(example = "ok")]
    pub(crate) message: &'static str,
}

/// Position in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pagination {
    /// From 1; omitted if the page was requested by `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub(crate) page: Option<u64>,
    #[schema(minimum = 1, maximum = 100)]
    pub(crate) page_size: u32,
    pub(crate) page_count: u64,
    /// Number of items on all pages; for runs, at most 10,000.
    pub(crate) total_count: u64,
    /// True if there are more than `total_count`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) total_count_capped: bool,
    /// The `cursor` of the next page of runs, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next_cursor: Option<String>,
}
