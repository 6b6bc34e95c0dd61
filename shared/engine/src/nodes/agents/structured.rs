//! Parses steps written as a JSON object: `thought`, `action`, `action_input`, `output_files`.

use super::{
    json,
    mode::{Answer, InvalidReply, ReplyStep, RequestedCall},
};
use crate::python_text;
use serde_json::Value;

/// The action of an answer.
pub(super) const FINISH: &str = "finish";

/// Parses a reply into a step.
pub(super) fn parse(text: &str) -> Result<ReplyStep, InvalidReply> {
    let step = json::first(text)
        .map_err(|error| InvalidReply::new(format!("the reply is not valid JSON: {error}")))?;
    let Value::Object(mut step) = step else {
        return Err(InvalidReply::new("the reply must be a JSON object with `thought` and `action`"));
    };
    let missing: Vec<&str> =
        ["thought", "action", "action_input"].into_iter().filter(|key| !step.contains_key(*key)).collect();
    if !missing.is_empty() {
        return Err(InvalidReply::new(format!("the reply lacks {}", missing.join(", "))));
    }
    let mut take = |key: &str| step.remove(key).unwrap_or_default();
    let (thought, action, input) = (take("thought"), take("action"), take("action_input"));
    let thought = if thought.is_null() { String::new() } else { python_text::str(&thought) };
    if action == FINISH {
        let files = take("output_files").as_str().unwrap_or_default().to_owned();
        return Ok(ReplyStep::Answer(Answer { thought, content: input, files }));
    }
    let Value::String(name) = action else {
        return Err(InvalidReply::new("`action` must be the name of a tool, or `finish`"));
    };
    let input = match input {
        Value::String(text) => json::whole(&text.replace("\\'", "'")).map_err(|error| {
            InvalidReply::new(format!(
                "`action_input` of a tool must be text that holds a JSON object with the tool's arguments, like \
                 \"{{\\\"query\\\": \\\"sales\\\"}}\", but this is not valid JSON: {error}"
            ))
        })?,
        input => input,
    };
    Ok(ReplyStep::Call(RequestedCall { thought, name, input, id: None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parses_steps() {
        let call = |input: Value| {
            Ok(ReplyStep::Call(RequestedCall { thought: "t".into(), name: "a".into(), input, id: None }))
        };
        for (text, step) in [
            (
                r#"{"thought": "t", "action": "a", "action_input": "{\"n\": \"it\\'s\"}"}"#,
                call(json!({"n": "it's"})),
            ),
            (r#"{"thought": "t", "action": "a", "action_input": {"n": 1}}{"thought""#, call(json!({"n": 1}))),
        ] {
            assert_eq!(parse(text), step, "{text}");
        }
        let answer = r#"{"thought": "t", "action": "finish", "action_input": "x", "output_files": "a"}"#;
        let expected = Answer { thought: "t".into(), content: "x".into(), files: "a".into() };
        assert_eq!(parse(answer), Ok(ReplyStep::Answer(expected)));
        for text in [
            "no",
            "[1]",
            "null",
            r#"{"thought": "t", "action": "a"}"#,
            r#"{"thought": "t", "action": "a", "action_input": "plain"}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
