//! `HumanFeedbackTool`: asks a person and waits for the answer, or sends a person a message.

use super::{Registered, mapping};
use crate::{
    flow::{Call, Expiry, Halt, INPUT_EXPIRED, Kind, NodeError, OnExpiry, ToolSpec},
    load::{Fields, expiry},
    template::Template,
};
use async_trait::async_trait;
use runyard_runs::{Asked, EventBody, InputRequest, InputRequestKind, RequestId};
use serde_json::{Map, Value, json};
use std::{fmt::Write, sync::Arc};

pub(super) const HUMAN_FEEDBACK: Registered = Registered {
    class: "tools.HumanFeedbackTool",
    name: Some("message-sender"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(HumanFeedback::read(fields)?)),
};

/// Maximum number of questions in one call.
const MAX_QUESTIONS: usize = 4;

/// Number of options of a question, if it has any.
const OPTION_COUNT: std::ops::RangeInclusive<usize> = 2..=4;

#[derive(Debug)]
struct HumanFeedback {
    message: Arc<Template>,
    /// The action; if set, that of the input is ignored.
    action: Option<Action>,
    expiry: Option<Expiry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Ask,
    Info,
}

/// Fields without effect: questions and messages are events of the run, and are answered through the API.
const WITHOUT_EFFECT: &[&str] = &["description", "input_method", "is_browser_takeover", "output_method"];

impl HumanFeedback {
    fn read(fields: Fields<'_>) -> Option<Self> {
        fields.know(WITHOUT_EFFECT);
        let message = Template::new(fields.text("msg_template").unwrap_or("{{input}}"))
            .map_err(|problem| fields.mistake(fields.spot("msg_template"), problem))
            .ok()?;
        Some(Self {
            message: Arc::new(message),
            action: fields.choice("action", &[("ask", Action::Ask), ("info", Action::Info)]),
            expiry: expiry(fields, &[("fail", OnExpiry::Fail), ("continue", OnExpiry::Approve)]),
        })
    }

    fn ask(&self, call: Call<'_>, message: String, questions: &Value) -> Result<Value, Halt> {
        let key = format!("node:{}:feedback", call.key);
        let mut params = Map::new();
        let prompt = match questions.as_array() {
            Some(asked) => {
                params.insert("questions".into(), questions.clone());
                format!("{message}\n{}", shown(asked)).trim().to_owned()
            }
            None => message,
        };
        let request = InputRequest {
            id: RequestId(uuid::Uuid::nil()),
            kind: InputRequestKind::HumanFeedback,
            prompt,
            params,
            editable_params: Vec::new(),
            schema: Map::new(),
            accept_pattern: None,
            expires_at: self.expiry.map(|expiry| call.run.now() + expiry.after),
        };
        match call.run.ask(&key, request, |request| EventBody::AgentHumanFeedbackRequested { request }) {
            Asked::Pending => Err(Halt::Suspended),
            Asked::Answered(answer) => Ok(output(questions, &answer)),
            Asked::Expired if self.expiry.is_some_and(|expiry| expiry.then != OnExpiry::Fail) => {
                Ok(json!({"content": "", "expired": true}))
            }
            Asked::Expired => Err(NodeError::new(INPUT_EXPIRED, "nobody answered in time").lasting().into()),
        }
    }
}

#[async_trait]
impl Kind for HumanFeedback {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let message = self.message.render(call.run, input.as_object().unwrap_or(&empty)).await?;
        let action = match (self.action, input["action"].as_str()) {
            (Some(action), _) => action,
            (None, Some("info")) => Action::Info,
            (None, _) => Action::Ask,
        };
        if action == Action::Ask {
            return self.ask(call, message, &input["questions"]).map(Arc::new);
        }
        let node = Arc::clone(&call.node.reference);
        let sent = EventBody::AgentMessageSent { node, message: message.clone() };
        call.run.record(&format!("node:{}:message", call.key), sent, None);
        Ok(Arc::new(json!({"content": format!("Message sent: {message}")})))
    }

    fn offer(&self) -> ToolSpec {
        let description = match self.action {
            None => {
                "Talks to the person you work for. `ask` puts a question and waits for the answer: use it for what only a \
                 person can know or decide. `info` tells how things stand and waits for nothing. Up to four `questions` \
                 can offer choices."
            }
            Some(Action::Ask) => {
                "Puts a question to the person you work for and waits for the answer: use it for what only a person can \
                 know or decide. Up to four `questions` can offer choices."
            }
            Some(Action::Info) => "Tells the person you work for how things stand. Nobody answers.",
        };
        ToolSpec { description, parameters: parameters(self.action), parallel: false }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let input = mapping(input, "a human feedback node")?;
        let mut admitted = input.as_object().cloned().unwrap_or_default();
        let action = admitted.entry("action").or_insert_with(|| "ask".into());
        if action != "ask" && action != "info" {
            return Err(wrong(&format!("`action` must be \"ask\" or \"info\", not {action}")));
        }
        let text = admitted.entry("input").or_insert_with(|| "".into());
        if !text.is_string() {
            return Err(wrong("`input` must be text"));
        }
        let questions = match admitted.get("questions") {
            None | Some(Value::Null) => Value::Null,
            Some(Value::Array(given)) if (1..=MAX_QUESTIONS).contains(&given.len()) => given
                .iter()
                .enumerate()
                .map(|(index, given)| question(index, given))
                .collect::<Result<_, _>>()?,
            Some(_) => {
                return Err(wrong(&format!("`questions` must be a list of 1 to {MAX_QUESTIONS} questions")));
            }
        };
        admitted.insert("questions".into(), questions);
        Ok(Arc::new(Value::Object(admitted)))
    }
}

/// The JSON Schema of the input that a model writes.
fn parameters(action: Option<Action>) -> Value {
    let mut properties = Map::new();
    if action.is_none() {
        properties.insert(
            "action".into(),
            json!({"type": "string", "enum": ["ask", "info"], "description": "`ask` waits for an answer."}),
        );
    }
    properties
        .insert("input".into(), json!({"type": "string", "description": "The question or the message."}));
    if action != Some(Action::Info) {
        let option = json!({
            "type": "object",
            "properties": {"label": {"type": "string"}, "description": {"type": ["string", "null"]}},
            "required": ["label"],
        });
        let question = json!({
            "type": "object",
            "properties": {
                "question": {"type": "string"},
                "header": {"type": ["string", "null"], "description": "A word or two."},
                "options": {"type": "array", "items": option, "description": "None, or 2 to 4."},
                "multi_select": {"type": "boolean"},
                "allow_custom_answer": {"type": "boolean"},
            },
            "required": ["question"],
        });
        properties.insert("questions".into(), json!({"type": ["array", "null"], "items": question}));
    }
    json!({"type": "object", "properties": properties, "additionalProperties": true})
}

fn wrong(problem: &str) -> NodeError {
    NodeError::new("ValidationError", problem)
}

/// A question with all fields: `{id, header, question, options, multi_select, allow_custom_answer}`. Its id is its
/// index, unless it has one.
fn question(index: usize, given: &Value) -> Result<Value, NodeError> {
    let about = |problem: &str| wrong(&format!("question {index}: {problem}"));
    let Some(text) = given["question"].as_str() else {
        return Err(about("`question` must be text"));
    };
    let optional = |key: &str| match &given[key] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(about(&format!("`{key}` must be text"))),
    };
    let flag = |key: &str, default| match &given[key] {
        Value::Null => Ok(default),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(about(&format!("`{key}` must be true or false"))),
    };
    let options = match &given["options"] {
        Value::Null => Vec::new(),
        Value::Array(options) if options.is_empty() || OPTION_COUNT.contains(&options.len()) => {
            options.clone()
        }
        _ => return Err(about("`options` must be a list of 2 to 4 options")),
    };
    let mut offered = Vec::with_capacity(options.len());
    for option in &options {
        let Some(label) = option["label"].as_str() else {
            return Err(about("`label` of an option cannot be blank"));
        };
        offered.push(json!({"label": label, "description": option["description"].as_str()}));
    }
    Ok(json!({
        "id": optional("id")?.unwrap_or_else(|| index.to_string()),
        "header": optional("header")?,
        "question": text,
        "options": offered,
        "multi_select": flag("multi_select", false)?,
        "allow_custom_answer": flag("allow_custom_answer", true)?,
    }))
}

/// The questions as text, for clients that do not show choices.
fn shown(questions: &[Value]) -> String {
    let mut text = String::new();
    for (number, question) in (1..).zip(questions) {
        let header = question["header"].as_str().map(|header| format!("[{header}] ")).unwrap_or_default();
        let _ = writeln!(text, "{number}. {header}{}", question["question"].as_str().unwrap_or_default());
        for option in question["options"].as_array().into_iter().flatten() {
            let _ = write!(text, "   - {}", option["label"].as_str().unwrap_or_default());
            if let Some(description) = option["description"].as_str().filter(|text| !text.is_empty()) {
                let _ = write!(text, " - {description}");
            }
            text.push('\n');
        }
        if question["allow_custom_answer"] == true {
            text.push_str("   - Other (free text)\n");
        }
    }
    text.trim_end().to_owned()
}

/// `{content, answers?}`: the feedback, or if it is empty, the chosen options as text.
fn output(questions: &Value, answer: &Value) -> Value {
    let feedback = answer["feedback"].as_str().unwrap_or_default();
    let Some(answers) = answer["answers"].as_array() else { return json!({"content": feedback}) };
    let content = if feedback.is_empty() { chosen(questions, answers) } else { feedback.to_owned() };
    json!({"content": content, "answers": answers})
}

fn chosen(questions: &Value, answers: &[Value]) -> String {
    let questions = questions.as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = answers.iter().map(|answer| {
        let question = questions.iter().find(|question| question["id"] == answer["question_id"]);
        let question = question.map_or(&answer["question_id"], |question| &question["question"]);
        let mut parts: Vec<String> = answer["selected"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|label| label.as_str().map(str::to_owned))
            .collect();
        if let Some(text) = answer["custom_text"].as_str().filter(|text| !text.is_empty()) {
            parts.push(format!("other: {text}"));
        }
        if parts.is_empty() {
            parts.push("(no answer)".to_owned());
        }
        format!("Q: {} -> A: {}", question.as_str().unwrap_or_default(), parts.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}
