//! Parses steps written as function calls.

use super::{
    json,
    mode::{Answer, InvalidReply, ReplyStep, RequestedCall},
};
use serde_json::{Map, Value};

/// The function that a model calls to answer.
pub(super) const FINAL_ANSWER: &str = "provide_final_answer";

/// Parses `calls`, in the format of the chat completions API, into a step.
///
/// An answer next to calls of tools is dropped: the model wrote it before it had their results.
pub(super) fn parse(calls: &[Value]) -> Result<ReplyStep, InvalidReply> {
    if calls.is_empty() {
        return Err(InvalidReply::new("the reply calls no function"));
    }
    let calls: Vec<Called> = calls.iter().map(Called::read).collect::<Result<_, _>>()?;
    let (answers, tools): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call.name == FINAL_ANSWER);
    if tools.is_empty() {
        return match answers.into_iter().next() {
            Some(answer) => answer.answer().map(ReplyStep::Answer),
            None => Err(InvalidReply::new("the reply calls no function")),
        };
    }
    let mut wanted: Vec<RequestedCall> = tools.into_iter().map(Called::wanted).collect::<Result<_, _>>()?;
    match wanted.len() {
        1 => Ok(ReplyStep::Call(wanted.remove(0))),
        _ => Ok(ReplyStep::Calls(wanted)),
    }
}

/// The name of the called function.
pub(super) fn name(call: &Value) -> &str {
    call["function"]["name"].as_str().unwrap_or_default().trim()
}

struct Called {
    name: String,
    id: Option<String>,
    arguments: Map<String, Value>,
}

impl Called {
    fn read(call: &Value) -> Result<Self, InvalidReply> {
        let name = name(call).to_owned();
        let arguments = match &call["function"]["arguments"] {
            Value::String(text) if text.trim().is_empty() => Value::Null,
            // A call may be cut off: its complete arguments may be enough.
            Value::String(text) => json::whole_or_cut(text).map_err(|error| {
                InvalidReply::new(format!("the arguments of `{name}` are not valid JSON: {error}"))
            })?,
            other => other.clone(),
        };
        let arguments = match arguments {
            Value::Object(arguments) => arguments,
            Value::Null => Map::new(),
            _ => return Err(InvalidReply::new(format!("the arguments of `{name}` must be a JSON object"))),
        };
        Ok(Self { id: call["id"].as_str().map(str::to_owned), name, arguments })
    }

    fn take_text(&mut self, key: &str) -> Option<String> {
        match self.arguments.remove(key) {
            None | Some(Value::Null | Value::Bool(false)) => Some(String::new()),
            Some(Value::String(text)) => Some(text),
            Some(_) => None,
        }
    }

    fn answer(mut self) -> Result<Answer, InvalidReply> {
        let (thought, files) = (self.take_text("thought"), self.take_text("output_files"));
        match (thought, files, self.arguments.remove("answer")) {
            (
                Some(thought),
                Some(files),
                Some(content @ (Value::String(_) | Value::Object(_) | Value::Array(_))),
            ) => Ok(Answer { thought, content, files }),
            _ => {
                Err(InvalidReply::new(format!("`{FINAL_ANSWER}` needs the arguments `thought` and `answer`")))
            }
        }
    }

    fn wanted(mut self) -> Result<RequestedCall, InvalidReply> {
        let Some(thought) = self.take_text("thought") else {
            return Err(InvalidReply::new(format!("`thought` of the call of `{}` must be text", self.name)));
        };
        // Some models put all arguments under one key.
        let input = match self.arguments.len() {
            1 => self.arguments.remove("action_input"),
            _ => None,
        };
        let input = match input {
            Some(Value::String(text)) => json::whole(&text).map_err(|error| {
                InvalidReply::new(format!("the arguments of `{}` are not valid JSON: {error}", self.name))
            })?,
            Some(input) => input,
            None => Value::Object(self.arguments),
        };
        let input = if input.is_object() { input } else { serde_json::json!({"input": input}) };
        Ok(RequestedCall { thought, name: self.name, input, id: self.id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(name: &str, arguments: &str) -> Value {
        json!({"id": name, "type": "function", "function": {"name": name, "arguments": arguments}})
    }

    fn wanted(name: &str, input: Value) -> RequestedCall {
        RequestedCall { thought: String::new(), name: name.into(), input, id: Some(name.into()) }
    }

    #[test]
    fn parses_steps() {
        let one = |input: Value| Ok(ReplyStep::Call(wanted("a", input)));
        assert_eq!(parse(&[call("a", r#"{"thought": null, "n": 1}"#)]), one(json!({"n": 1})));
        assert_eq!(parse(&[call("a", "")]), one(json!({})));
        assert_eq!(parse(&[call("a", r#"{"action_input": "[1]"}"#)]), one(json!({"input": [1]})));
        assert_eq!(parse(&[call("a", r#"{"n": 1, "m": "x"#)]), one(json!({"n": 1})));
        let answer = call(FINAL_ANSWER, r#"{"answer": "x"}"#);
        assert!(matches!(parse(std::slice::from_ref(&answer)), Ok(ReplyStep::Answer(_))));
        assert_eq!(parse(&[answer.clone(), call("a", "{}")]), one(json!({})));
        let two = ReplyStep::Calls(vec![wanted("a", json!({})), wanted("b", json!({}))]);
        assert_eq!(parse(&[call("a", "{}"), answer, call("b", "{}")]), Ok(two));
        for calls in [
            vec![],
            vec![call(FINAL_ANSWER, "{}")],
            vec![call(FINAL_ANSWER, r#"{"answer": 1}"#)],
            vec![call("a", "[1]")],
            vec![call("a", "plain")],
            vec![call("a", r#"{"thought": 1}"#)],
        ] {
            assert!(parse(&calls).is_err(), "{calls:?}");
        }
    }
}
