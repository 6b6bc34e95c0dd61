//! `POST /v1/runs/{run_id}/input`: answers an input request of a run.

use super::{json, run_path::RunPath};
use crate::{
    Api,
    auth::WithKeyOrPublic,
    body::{self, Content},
    error::{
        BadRequest, Error, Forbidden, InternalServerError, NotFound, PayloadTooLarge, RequestTimeout,
        ServiceUnavailable, Unauthorized, UnsupportedMediaType,
    },
    fields::{CANNOT_BE_BLANK, Fields, USER_ID},
    wire::{AnswerInput, Message},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use runyard_runs::{Answer, FieldErrors, InputRequest, InputRequestKind, RequestId, service::input};
use serde_json::{Map, Value, json as value};

/// Answers a pending input request and resumes the run. The first answer counts; a second one is refused. Without a key, if
/// the app is public, only questions of runs that were created without one can be answered, and never an approval.
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
    let given = ReceivedAnswer::parse(body::json(&api, &caller.app, &parts.headers, body).await?)?;
    let answer = |asked: &InputRequest| given.answer(asked);
    let by = caller.actor(given.user_id.clone());
    match api.service.answer(&caller.app, run, given.request, by, answer).await {
        Ok(()) => json(StatusCode::OK, &Message { message: "ok" }),
        Err(input::Error::NotFound) => Err(Error::no_run()),
        Err(input::Error::KeyNeeded) => Err(Error::key_needed()),
        Err(input::Error::Invalid(details)) => Err(Error::invalid(details)),
        Err(input::Error::Store(error)) => Err(error.into()),
    }
}

/// An answer as it was sent.
#[derive(Debug)]
struct ReceivedAnswer {
    request: RequestId,
    /// The caller's own identifier of the person who answers.
    user_id: Option<String>,
    body: ReceivedBody,
}

#[derive(Debug)]
enum ReceivedBody {
    Feedback { feedback: Option<String>, answers: Option<Vec<Value>> },
    Approval { approved: Option<bool>, params: Map<String, Value>, feedback: Option<String> },
}

impl ReceivedAnswer {
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
        let user_id = fields.text("user_id", USER_ID);
        fields.check()?;
        let mut fields = Fields::new(data);
        let request = fields.uuid("request_id");
        if request.is_none() {
            fields.wrong("request_id", CANNOT_BE_BLANK);
        }
        let feedback = fields.text("feedback", usize::MAX);
        let body = if kind == Some("approval") {
            let approved = fields.flag("approved");
            if approved.is_none() && feedback.is_none() {
                fields.wrong("approved", CANNOT_BE_BLANK);
            }
            let params = fields.object("params").unwrap_or_default();
            ReceivedBody::Approval { approved, params, feedback }
        } else {
            let answers = answers(&mut fields);
            if feedback.is_none() && answers.is_none() {
                fields.wrong("feedback", CANNOT_BE_BLANK);
            }
            ReceivedBody::Feedback { feedback, answers }
        };
        fields.check()?;
        Ok(Self { request: RequestId(request.unwrap_or_default()), user_id, body })
    }

    /// Returns what is journaled: `{feedback?, answers?}`, or `{approved?, params?, feedback?}` with only the changed params.
    fn answer(&self, asked: &InputRequest) -> Result<Answer, FieldErrors> {
        match (&self.body, asked.kind) {
            (ReceivedBody::Feedback { feedback, answers }, InputRequestKind::HumanFeedback) => {
                let mut answer = Map::new();
                if let Some(feedback) = feedback {
                    answer.insert("feedback".to_owned(), feedback.as_str().into());
                }
                if let Some(answers) = answers {
                    check_answers(answers, asked)?;
                    answer.insert("answers".to_owned(), answers.as_slice().into());
                }
                Ok(answer.into())
            }
            (ReceivedBody::Approval { approved, params, feedback }, InputRequestKind::ApprovalRequest) => {
                let mut errors = FieldErrors::new();
                let mut changed = Map::new();
                for (name, value) in params {
                    if asked.params.get(name) == Some(value) {
                        continue;
                    }
                    match unfit(asked, name, value) {
                        Some(problem) => drop(errors.insert(format!("params.{name}"), problem)),
                        None => drop(changed.insert(name.clone(), value.clone())),
                    }
                }
                if !errors.is_empty() {
                    return Err(errors);
                }
                let mut answer = Map::new();
                if let Some(approved) = approved {
                    answer.insert("approved".to_owned(), (*approved).into());
                }
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

/// Returns why a param cannot be changed to this value, if so. The engine checks a param that has a schema; any other value
/// must have the type of the current one.
fn unfit(asked: &InputRequest, name: &String, value: &Value) -> Option<String> {
    if !asked.editable_params.contains(name) {
        return Some("is not one of editable_params".to_owned());
    }
    if asked.schema.get("properties").is_some_and(|properties| properties.get(name).is_some()) {
        return None;
    }
    let Some(shown) = asked.params.get(name) else {
        return Some("cannot be changed: the approval request has no such param".to_owned());
    };
    let (is, should) = (type_name(value), type_name(shown));
    (!shown.is_null() && is != should)
        .then(|| format!("must be {should}, as in the approval request, not {is}"))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Takes the field `answers`: objects with only `question_id`, `selected` and `custom_text`.
fn answers(fields: &mut Fields) -> Option<Vec<Value>> {
    let Value::Array(given) = fields.any("answers")? else {
        fields.wrong("answers", "must be an array");
        return None;
    };
    let mut answers = Vec::with_capacity(given.len());
    for (index, answer) in given.iter().enumerate() {
        let is_text = |value: &Value| value.is_string();
        let id = answer.get("question_id").filter(|id| is_text(id));
        let selected = answer.get("selected").filter(|selected| !selected.is_null());
        let custom_text = answer.get("custom_text").filter(|text| !text.is_null());
        let is_valid = selected
            .is_none_or(|selected| selected.as_array().is_some_and(|labels| labels.iter().all(is_text)))
            && custom_text.is_none_or(is_text);
        match id.filter(|_| is_valid) {
            Some(id) => answers.push(value!({
                "question_id": id,
                "selected": selected.cloned().unwrap_or_else(|| value!([])),
                "custom_text": custom_text,
            })),
            None => fields.wrong(
                &format!("answers.{index}"),
                "must have question_id (a string), and may have selected (strings) and custom_text (a string)",
            ),
        }
    }
    Some(answers)
}

/// Checks that the answers belong to questions of the request, and select offered options.
fn check_answers(answers: &[Value], asked: &InputRequest) -> Result<(), FieldErrors> {
    let questions = asked.params.get("questions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut errors = FieldErrors::new();
    for (index, answer) in answers.iter().enumerate() {
        let Some(question) = questions.iter().find(|question| question["id"] == answer["question_id"]) else {
            errors.insert(
                format!("answers.{index}.question_id"),
                "is not a question of this request".to_owned(),
            );
            continue;
        };
        let selected = answer["selected"].as_array().map_or(&[][..], Vec::as_slice);
        let offered = question["options"].as_array().map_or(&[][..], Vec::as_slice);
        if selected.iter().any(|label| offered.iter().all(|option| option["label"] != *label)) {
            errors.insert(format!("answers.{index}.selected"), "must have only offered options".to_owned());
        } else if selected.len() > 1 && question["multi_select"] != true {
            errors.insert(format!("answers.{index}.selected"), "must have at most one option".to_owned());
        }
        if question["allow_custom_answer"] == false && !answer["custom_text"].is_null() {
            let problem = "is not allowed: select an offered option".to_owned();
            errors.insert(format!("answers.{index}.custom_text"), problem);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn mismatch(asked: &str, with: &str) -> FieldErrors {
    FieldErrors::from([("type".to_owned(), format!("the request is of type {asked}: answer with {with}"))])
}

#[cfg(test)]
mod tests {
    use super::ReceivedAnswer;
    use runyard_runs::{InputRequest, InputRequestKind, RequestId};
    use serde_json::{Value, json};
    use uuid::Uuid;

    /// Returns what is journaled, or the fields with errors.
    fn answer_to(kind: InputRequestKind, params: &Value, data: &Value) -> Result<Value, Vec<String>> {
        let asked = InputRequest {
            id: RequestId(Uuid::nil()),
            kind,
            prompt: "?".to_owned(),
            params: params.as_object().unwrap().clone(),
            editable_params: ["amount", "note", "any", "more"].map(str::to_owned).into(),
            schema: json!({ "properties": { "more": { "type": "string" } } }).as_object().unwrap().clone(),
            accept_pattern: None,
            expires_at: None,
        };
        let r#type = match kind {
            InputRequestKind::ApprovalRequest => "approval",
            InputRequestKind::HumanFeedback => "human_feedback",
        };
        let mut body = json!({ "type": r#type, "data": data }).as_object().unwrap().clone();
        body["data"]["request_id"] = Uuid::nil().to_string().into();
        let given = ReceivedAnswer::parse(body).map_err(|error| vec![format!("{error:?}")])?;
        given.answer(&asked).map_err(|errors| errors.into_keys().collect())
    }

    fn answer(data: &Value) -> Result<Value, Vec<String>> {
        let params = json!({ "amount": 1, "to": "a", "any": null });
        answer_to(InputRequestKind::ApprovalRequest, &params, data)
    }

    #[test]
    fn answers_select_offered_options() {
        let options = json!([{ "label": "red" }, { "label": "blue" }]);
        let params = json!({ "questions": [
            { "id": "0", "question": "Which?", "options": options, "multi_select": false, "allow_custom_answer": false },
            { "id": "b", "question": "Why?", "options": options, "multi_select": true, "allow_custom_answer": true },
        ] });
        let answer = |answers: Value| {
            answer_to(InputRequestKind::HumanFeedback, &params, &json!({ "answers": answers }))
        };
        let given =
            json!([{ "question_id": "0", "selected": ["red"] }, { "question_id": "b", "custom_text": "x" }]);
        let journaled = json!({ "answers": [
            { "question_id": "0", "selected": ["red"], "custom_text": null },
            { "question_id": "b", "selected": [], "custom_text": "x" },
        ] });
        assert_eq!(answer(given), Ok(journaled));
        assert_eq!(
            answer(json!([
                { "question_id": "0", "selected": ["red", "blue"], "custom_text": "x" },
                { "question_id": "b", "selected": ["green"] },
                { "question_id": "c" },
            ])),
            Err(["0.custom_text", "0.selected", "1.selected", "2.question_id"]
                .map(|f| format!("answers.{f}"))
                .into())
        );
        assert!(answer(json!([{ "selected": ["red"] }])).is_err());
        assert!(answer(json!({})).is_err());
    }

    #[test]
    fn only_editable_params_may_be_changed() {
        assert_eq!(answer(&json!({ "approved": false })), Ok(json!({ "approved": false })));
        assert_eq!(
            answer(&json!({ "approved": true, "params": { "amount": 5, "to": "a" }, "feedback": "ok" })),
            Ok(json!({ "approved": true, "params": { "amount": 5 }, "feedback": "ok" })),
            "an unchanged value is not a change"
        );
        assert_eq!(
            answer(&json!({ "approved": true, "params": { "amount": 4.5, "any": [1], "more": 1 } })),
            Ok(json!({ "approved": true, "params": { "amount": 4.5, "any": [1], "more": 1 } })),
            "null may become any value, and a schema decides for its own param"
        );
        for (name, value) in [
            ("amount", json!("450")),
            ("amount", json!(null)),
            ("amount", json!([450])),
            ("amount", json!(true)),
            ("note", json!("not in the request")),
        ] {
            let refused = answer(&json!({ "approved": true, "params": { name: value } }));
            assert_eq!(refused, Err(vec![format!("params.{name}")]), "{value}");
        }
        assert_eq!(
            answer(&json!({ "approved": true, "params": { "amount": 5, "to": "b", "x": 1 } })),
            Err(vec!["params.to".to_owned(), "params.x".to_owned()])
        );
        assert_eq!(
            answer(&json!({ "feedback": "go on" })),
            Ok(json!({ "feedback": "go on" })),
            "the node decides whether that approves"
        );
        assert!(answer(&json!({})).is_err());
        assert!(answer(&json!({ "approved": "yes" })).is_err());
        assert!(answer(&json!({ "approved": true, "params": [] })).is_err());
    }
}
