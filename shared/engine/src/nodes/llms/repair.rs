//! Mends conversations with tool calls, which providers refuse over things that happen: a call that was not answered, an
//! answer without its call, a message without text.

use serde_json::{Value, json};

const EMPTY: &str = "(This message is empty.)";

/// The conversation, such that every provider takes it.
pub(super) fn repair(messages: Vec<Value>) -> Vec<Value> {
    let mut mended: Vec<Value> = Vec::with_capacity(messages.len());
    // The calls of the last message of the assistant that have no answer yet, by id, with the tool's name.
    let mut open: Vec<(Value, Value)> = Vec::new();
    // Where the calls of that message stand answered.
    let mut answered: Vec<(Value, usize)> = Vec::new();
    for message in messages.into_iter().map(filled) {
        match message["role"].as_str() {
            Some("tool" | "function") if message["tool_call_id"].is_string() => {
                let id = message["tool_call_id"].clone();
                if let Some((_, place)) = answered.iter().find(|(known, _)| *known == id) {
                    // Of several answers to a call the last counts.
                    mended[*place] = message;
                } else if let Some(place) = open.iter().position(|(known, _)| *known == id) {
                    open.remove(place);
                    answered.push((id, mended.len()));
                    mended.push(message);
                }
            }
            Some("assistant") => {
                close(&mut open, &mut mended);
                answered.clear();
                open = calls(&message);
                mended.push(message);
            }
            _ => {
                close(&mut open, &mut mended);
                mended.push(message);
            }
        }
    }
    close(&mut open, &mut mended);
    mended
}

fn calls(message: &Value) -> Vec<(Value, Value)> {
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    calls.map(|call| (call["id"].clone(), call["function"]["name"].clone())).collect()
}

/// Answers what nobody answered.
fn close(open: &mut Vec<(Value, Value)>, mended: &mut Vec<Value>) {
    for (id, name) in open.drain(..) {
        let name = name.as_str().unwrap_or("the tool");
        let content = format!("The call of `{name}` was interrupted and gave no result.");
        mended.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
    }
}

/// The message with some text, if it is one that needs any.
fn filled(mut message: Value) -> Value {
    let is_said = matches!(message["role"].as_str(), Some("user" | "assistant"));
    if is_said && message["content"].as_str().is_some_and(|text| text.trim().is_empty()) {
        message["content"] = EMPTY.into();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}})
    }

    fn answer(id: &str, content: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "content": content})
    }

    #[test]
    fn what_is_whole_stays() {
        let whole = vec![
            json!({"role": "system", "content": "s"}),
            json!({"role": "user", "content": [{"type": "text", "text": ""}]}),
            json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]}),
            answer("b", "2"),
            answer("a", "1"),
            json!({"role": "assistant", "content": "done"}),
        ];
        assert_eq!(repair(whole.clone()), whole);
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_too_much_goes() {
        let broken = vec![
            answer("x", "an answer to nothing"),
            json!({"role": "user", "content": " "}),
            json!({"role": "assistant", "content": "", "tool_calls": [call("a"), call("b")]}),
            answer("a", "first"),
            answer("a", "second"),
            answer("x", "another"),
            json!({"role": "user", "content": "well?"}),
        ];
        let mended = repair(broken);
        let roles: Vec<&str> = mended.iter().filter_map(|message| message["role"].as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"]);
        assert_eq!((&mended[0]["content"], &mended[1]["content"]), (&json!(EMPTY), &json!(EMPTY)));
        assert_eq!(mended[2], answer("a", "second"));
        assert_eq!(mended[3]["tool_call_id"], "b");
    }
}
