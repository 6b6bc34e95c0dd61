//! Parses steps written with labels: `Thought:`, `Action:`, `Action Input:`, `Answer:`.

use super::mode::{Answer, InvalidReply, ReplyStep, RequestedCall};
use serde_json::Value;

const THOUGHT: &str = "Thought:";
const ACTION: &str = "Action:";
const INPUT: &str = "Action Input:";
const ANSWER: &str = "Answer:";
const FILES: &str = "\nOutput Files:";

/// The most `Action Input:` of a reply: the text before each is searched.
const MAX_INPUTS: usize = 32;

/// Parses a reply into a step.
pub(super) fn parse(text: &str) -> Result<ReplyStep, InvalidReply> {
    if text.contains(ANSWER) {
        return Ok(ReplyStep::Answer(answer(text)));
    }
    let mut calls = Vec::new();
    for (number, (index, _)) in text.match_indices(INPUT).enumerate() {
        if number == MAX_INPUTS {
            return Err(InvalidReply::new(format!("there are more than {MAX_INPUTS} `Action Input:`")));
        }
        let Some(name) = action(&text[..index]) else { continue };
        let input = input(name, &text[index + INPUT.len()..])?;
        calls.push(RequestedCall { thought: thought(text), name: name.to_owned(), input, id: None });
    }
    match calls.into_iter().next() {
        Some(call) => Ok(ReplyStep::Call(call)),
        None => Err(InvalidReply::new("the reply has no `Action:` with an `Action Input:`")),
    }
}

/// An answer without a thought before it is empty, as in the reference.
fn answer(text: &str) -> Answer {
    let parts = text.split_once(THOUGHT).and_then(|(_, rest)| rest.split_once(ANSWER));
    let (thought, answer) = parts.unwrap_or_default();
    let (thought, files) = thought.trim().rsplit_once(FILES).unwrap_or((thought, ""));
    Answer {
        thought: thought.trim().to_owned(),
        content: answer.trim().into(),
        files: files.trim().to_owned(),
    }
}

fn thought(text: &str) -> String {
    let thought = text.split_once(THOUGHT).and_then(|(_, rest)| rest.split_once("Action"));
    thought.map(|(thought, _)| thought.trim().to_owned()).unwrap_or_default()
}

/// The name in the last `Action:` of `text`, up to the end of its line or the next label.
fn action(text: &str) -> Option<&str> {
    text.rmatch_indices(ACTION).find_map(|(index, _)| {
        let name = text[index + ACTION.len()..].trim_start();
        let end = name.find('\n').unwrap_or(name.len());
        let name = &name[..end];
        let name = match name.char_indices().nth(1).and_then(|(second, _)| name[second..].find("Action")) {
            Some(label) => {
                let second = name.chars().next().map_or(0, char::len_utf8);
                &name[..second + label]
            }
            None => name,
        };
        Some(name.trim()).filter(|name| !name.is_empty())
    })
}

/// The JSON object at the start of `text`, with or without a Markdown fence.
fn input(name: &str, text: &str) -> Result<Value, InvalidReply> {
    let text = text.replace("```json", "").replace("```JSON", "").replace("```", "");
    let Some(object) = object(text.trim()) else {
        let start: String = text.trim().chars().take(100).collect();
        let problem =
            format!("the `Action Input:` of {name} must be a complete JSON object, but it is: {start}");
        return Err(InvalidReply::new(problem));
    };
    serde_json::from_str(object).map_err(|error| {
        InvalidReply::new(format!("the `Action Input:` of {name} is not valid JSON: {error}: {object}"))
    })
}

/// The text up to the brace that closes its first one.
fn object(text: &str) -> Option<&str> {
    if !text.starts_with('{') {
        return None;
    }
    let (mut depth, mut inside, mut escaped) = (0, false, false);
    for (index, character) in text.char_indices() {
        if character == '"' && !escaped {
            inside = !inside;
        }
        escaped = character == '\\' && !escaped;
        if inside {
            continue;
        }
        match character {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[..=index]);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(thought: &str, name: &str, input: Value) -> ReplyStep {
        ReplyStep::Call(RequestedCall { thought: thought.into(), name: name.into(), input, id: None })
    }

    #[test]
    fn parses_calls() {
        for (text, step) in [
            (
                "Thought: add\nAction: Sum Tool\nAction Input: {\"n\": {\"m\": \"}\"}}\nObs",
                call("add", "Sum Tool", json!({"n": {"m": "}"}})),
            ),
            ("Action: a Action Input: ```json\n{\"n\": 1}\n```", call("", "a", json!({"n": 1}))),
            (
                "Thought: x\nAction: a\nAction Input: {}\nAction: b\nAction Input: {\"n\": 2}",
                call("x", "a", json!({})),
            ),
        ] {
            assert_eq!(parse(text), Ok(step), "{text}");
        }
        for text in
            ["nothing", "Action Input: {}", "Action: a\nAction Input: x", "Action: a\nAction Input: {a}"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parses_answers() {
        for (text, thought, answer, files) in [
            ("Thought: done\nAnswer: 10\nThought: no", "done", "10\nThought: no", ""),
            ("Thought: done\nOutput Files: a.txt, b\nAnswer: see", "done", "see", "a.txt, b"),
            ("Answer: 10", "", "", ""),
        ] {
            let expected = Answer { thought: thought.into(), content: answer.into(), files: files.into() };
            assert_eq!(parse(text), Ok(ReplyStep::Answer(expected)), "{text}");
        }
    }
}
