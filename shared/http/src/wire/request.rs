//! The bodies that callers send.

use runyard_runs::FileId;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;
use uuid::Uuid;

/// Files of one run, uploaded before it or with it.
pub(crate) const MOST_FILES: usize = 100;

/// A run to create. Unknown fields are ignored; null counts as omitted.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"input": {"ticket": "My invoice is wrong"}, "user_id": "u-17", "metadata": {"channel": "mail"}}))]
pub(crate) struct CreateRun {
    /// The fields of the app's Input node, checked against its schema.
    #[schema(value_type = HashMap<String, Value>)]
    pub(crate) input: Map<String, Value>,
    /// The caller's own user identifier: stored, filterable, passed to the app. Without an access key, agents do not use it
    /// as memory scope.
    #[schema(nullable = true, max_length = 256)]
    pub(crate) user_id: Option<String>,
    /// Groups the runs of one conversation: stored, filterable, passed to the app as memory scope. Without an access key it
    /// is the only memory scope, separate from that of callers with a key, and only if it is random (version 4 or 7).
    pub(crate) session_id: Option<Uuid>,
    /// Answer with the run's events. Mutually exclusive with `background`.
    #[schema(required = false, default = false)]
    pub(crate) stream: bool,
    /// Answer 202 immediately. Mutually exclusive with `stream`.
    #[schema(required = false, default = false)]
    pub(crate) background: bool,
    /// Files uploaded earlier to this app; at most 100, including those in the request. Needs an access key.
    #[schema(required = false, value_type = Vec<Uuid>, max_items = 100)]
    pub(crate) file_ids: Vec<FileId>,
    /// Labels to filter by: at most 16 strings of at most 512 characters, with keys of 1 to 64 characters.
    #[schema(required = false, value_type = HashMap<String, String>)]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A run to create, with files: the fields in any order, at most 128 MiB in total.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form in the OpenAPI document")]
pub(crate) struct CreateRunForm {
    /// A JSON object: the fields of the app's Input node. At most 4 MiB.
    #[schema(example = "{\"ticket\": \"My invoice is wrong\"}")]
    input: String,
    /// The caller's own user identifier.
    #[schema(nullable = false, max_length = 256)]
    user_id: Option<String>,
    /// Groups the runs of one conversation.
    #[schema(nullable = false)]
    session_id: Option<Uuid>,
    /// `true` or `false`.
    #[schema(nullable = false)]
    stream: Option<bool>,
    /// `true` or `false`.
    #[schema(nullable = false)]
    background: Option<bool>,
    /// A JSON array of UUIDs.
    #[schema(nullable = false)]
    file_ids: Option<String>,
    /// A JSON object of strings.
    #[schema(nullable = false)]
    metadata: Option<String>,
    /// At most 100, including those of `file_ids`.
    #[schema(required = false, value_type = Vec<String>, format = Binary)]
    files: Vec<Vec<u8>>,
}

/// One file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form in the OpenAPI document")]
pub(crate) struct UploadFileForm {
    /// At most 128 MiB, including the rest of the form.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// The answer to an input request.
#[derive(ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a body in the OpenAPI document")]
pub(crate) enum AnswerInput {
    HumanFeedback(FeedbackAnswer),
    Approval(ApprovalAnswer),
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body in the OpenAPI document")]
pub(crate) struct FeedbackAnswer {
    data: FeedbackData,
    /// The caller's own identifier of who answers; shown in `input.received`.
    #[schema(nullable = true, max_length = 256)]
    user_id: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body in the OpenAPI document")]
pub(crate) struct FeedbackData {
    /// `id` of the input request.
    request_id: Uuid,
    /// May be omitted if `answers` is given.
    feedback: Option<String>,
    /// To the `questions` of the request's `params`.
    #[schema(nullable = true)]
    answers: Option<Vec<QuestionAnswer>>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body in the OpenAPI document")]
pub(crate) struct QuestionAnswer {
    /// `id` of the question.
    question_id: String,
    /// The labels of the options that were chosen.
    #[schema(required = false)]
    selected: Vec<String>,
    custom_text: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body in the OpenAPI document")]
pub(crate) struct ApprovalAnswer {
    data: ApprovalData,
    /// The caller's own identifier of who answers; shown in `input.received`.
    #[schema(nullable = true, max_length = 256)]
    user_id: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body in the OpenAPI document")]
pub(crate) struct ApprovalData {
    /// `id` of the input request.
    request_id: Uuid,
    /// May be omitted if `feedback` is given, which then approves if it equals the node's `accept_pattern`.
    approved: Option<bool>,
    /// New values of the request's `editable_params`, of the same type; others cannot be changed.
    #[schema(nullable = true)]
    params: Option<HashMap<String, Value>>,
    feedback: Option<String>,
}
