//! `POST /v1/runs/{run_id}/input`: answer a run's question.

use super::{json, run_path::RunPath};
use crate::{
    Api,
    auth::WithKeyOrPublic,
    body::{self, Content},
    error::{
        BadRequest, Error, Forbidden, InternalServerError, NotFound, PayloadTooLarge, RequestTimeout,
        ServiceUnavailable, Unauthorized, UnsupportedMediaType,
    },
    fields::Fields,
    wire::{AnswerInput, Message},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use runyard_runs::{Answer, FieldErrors, InputRequest, InputRequestKind, RequestId, service::input};
use serde_json::{Map, Value, json as value};

/// Answers a pending request and wakes the run. The first answer counts; a second one is refused.
#[utoipa::path(
    post,
    path = "/v1/runs/{run_id}/input",
    operation_id = "answer_run",
    tag = "runs",
    params(("run_id" = Uuid, Path, description = "The run.")),
    request_body(
        content = AnswerInput,
        examples(
            ("human_feedback" = (value = json!({"type": "human_feedback", "data": {"request_id": "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77", "feedback": "yes"}}))),
            ("approval" = (value = json!({"type": "approval", "data": {"request_id": "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77", "approved": true, "params": {"amount": 500}, "feedback": "fine"}}))),
        ),
    ),
    responses(
        (status = 200, description = "The answer is recorded.", body = Message, example = json!({"message": "ok"})),
        (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
        (status = 408, response = RequestTimeout),
        (status = 413, response = PayloadTooLarge),
        (status = 415, response = UnsupportedMediaType),
        (status = 500, response = InternalServerError),
        (status = 503, response = ServiceUnavailable),
    ),
)]
pub(crate) async fn handle(
    State(api): State<Api>,
    WithKeyOrPublic(caller): WithKeyOrPublic,
    RunPath(run): RunPath,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    if Content::of(&parts.headers)? != Content::Json {
        let problem = "is not supported here: send application/json";
        return Err(Error::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type", problem));
    }
    let given = Given::parse(body::json(&parts.headers, body, &api.config).await?)?;
    let answer = |asked: &InputRequest| given.answer(asked);
    match api.service.answer(&caller.app, run, given.request, answer).await {
        Ok(()) => json(StatusCode::OK, &Message { message: "ok" }),
        Err(input::Error::NotFound) => Err(Error::no_run()),
        Err(input::Error::Invalid(details)) => Err(Error::invalid(details)),
        Err(input::Error::Store(error)) => Err(error.into()),
    }
}

/// An answer as it was given.
#[derive(Debug)]
struct Given {
    request: RequestId,
    body: GivenBody,
}

#[derive(Debug)]
enum GivenBody {
    Feedback(String),
    Approval { approved: bool, params: Map<String, Value>, feedback: Option<String> },
}

impl Given {
    fn parse(object: Map<String, Value>) -> Result<Self, Error> {
        let mut fields = Fields::new(object);
        let kind = fields.any("type");
        let kind = kind
            .as_ref()
            .and_then(Value::as_str)
            .filter(|kind| matches!(*kind, "human_feedback" | "approval"));
        if kind.is_none() {
            fields.wrong("type", "must be human_feedback or approval");
        }
        let data = fields.required_object("data");
        fields.check()?;
        let mut fields = Fields::new(data);
        let request = fields.uuid("request_id");
        if request.is_none() {
            fields.wrong("request_id", "is required: the id of the input request");
        }
        let feedback = fields.text("feedback", usize::MAX);
        let body = if kind == Some("approval") {
            let approved = fields.flag("approved");
            if approved.is_none() {
                fields.wrong("approved", "is required: true or false");
            }
            let params = fields.object("params").unwrap_or_default();
            GivenBody::Approval { approved: approved.unwrap_or_default(), params, feedback }
        } else {
            if feedback.is_none() {
                fields.wrong("feedback", "is required: a string");
            }
            GivenBody::Feedback(feedback.unwrap_or_default())
        };
        fields.check()?;
        Ok(Self { request: RequestId(request.unwrap_or_default()), body })
    }

    /// What is journaled: `{feedback}`, or `{approved, params?, feedback?}` with the changed params alone.
    fn answer(&self, asked: &InputRequest) -> Result<Answer, FieldErrors> {
        match (&self.body, asked.kind) {
            (GivenBody::Feedback(feedback), InputRequestKind::HumanFeedback) => {
                Ok(value!({ "feedback": feedback }))
            }
            (GivenBody::Approval { approved, params, feedback }, InputRequestKind::ApprovalRequest) => {
                let mut errors = FieldErrors::new();
                let mut changed = Map::new();
                for (name, value) in params {
                    if asked.params.get(name) == Some(value) {
                        continue;
                    }
                    if asked.editable_params.contains(name) {
                        changed.insert(name.clone(), value.clone());
                    } else {
                        errors.insert(format!("params.{name}"), "is not one of editable_params".to_owned());
                    }
                }
                if !errors.is_empty() {
                    return Err(errors);
                }
                let mut answer = Map::from_iter([("approved".to_owned(), Value::from(*approved))]);
                if !changed.is_empty() {
                    answer.insert("params".to_owned(), changed.into());
                }
                if let Some(feedback) = feedback {
                    answer.insert("feedback".to_owned(), feedback.as_str().into());
                }
                Ok(answer.into())
            }
            (_, InputRequestKind::HumanFeedback) => Err(mismatch("human_feedback", "human_feedback")),
            (_, InputRequestKind::ApprovalRequest) => Err(mismatch("approval_request", "approval")),
        }
    }
}

fn mismatch(asked: &str, with: &str) -> FieldErrors {
    FieldErrors::from([("type".to_owned(), format!("the request is of type {asked}: answer with {with}"))])
}

#[cfg(test)]
mod tests {
    use super::Given;
    use runyard_runs::{InputRequest, InputRequestKind, RequestId};
    use serde_json::{Value, json};
    use uuid::Uuid;

    /// What is journaled, or which fields are wrong.
    fn answer(data: &Value) -> Result<Value, Vec<String>> {
        let asked = InputRequest {
            id: RequestId(Uuid::nil()),
            kind: InputRequestKind::ApprovalRequest,
            prompt: "?".to_owned(),
            params: json!({ "amount": 1, "to": "a" }).as_object().unwrap().clone(),
            editable_params: vec!["amount".to_owned(), "note".to_owned()],
        };
        let mut body = json!({ "type": "approval", "data": data }).as_object().unwrap().clone();
        body["data"]["request_id"] = Uuid::nil().to_string().into();
        let given = Given::parse(body).map_err(|error| vec![format!("{error:?}")])?;
        given.answer(&asked).map_err(|errors| errors.into_keys().collect())
    }

    #[test]
    fn only_editable_params_may_be_changed() {
        assert_eq!(answer(&json!({ "approved": false })), Ok(json!({ "approved": false })));
        assert_eq!(
            answer(&json!({ "approved": true, "params": { "amount": 5, "to": "a" }, "feedback": "ok" })),
            Ok(json!({ "approved": true, "params": { "amount": 5 }, "feedback": "ok" })),
            "what stays as it is was not changed"
        );
        assert_eq!(
            answer(&json!({ "approved": true, "params": { "note": "new", "amount": null } })),
            Ok(json!({ "approved": true, "params": { "note": "new", "amount": null } }))
        );
        assert_eq!(
            answer(&json!({ "approved": true, "params": { "amount": 5, "to": "b", "x": 1 } })),
            Err(vec!["params.to".to_owned(), "params.x".to_owned()])
        );
        assert!(answer(&json!({ "approved": "yes" })).is_err());
        assert!(answer(&json!({ "approved": true, "params": [] })).is_err());
    }
}
