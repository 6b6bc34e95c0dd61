//! Repairs conversations with tool calls, which providers refuse if a call has no result, a result has no call, or a
//! message has no text.

use serde_json::{Value, json};

const EMPTY: &str = "(This message is empty.)";

/// Repairs the conversation, so that every provider accepts it.
pub(super) fn repair(messages: Vec<Value>) -> Vec<Value> {
    let mut repaired: Vec<Value> = Vec::with_capacity(messages.len());
    // Id and tool name of the last assistant message's calls that have no result yet.
    let mut open: Vec<(Value, Value)> = Vec::new();
    // Ids of that message's calls that have a result, with the result's index.
    let mut answered: Vec<(Value, usize)> = Vec::new();
    for message in messages.into_iter().map(filled) {
        match message["role"].as_str() {
            Some("tool" | "function") if message["tool_call_id"].is_string() => {
                let id = message["tool_call_id"].clone();
                if let Some((_, index)) = answered.iter().find(|(known, _)| *known == id) {
                    // If a call has several results, the last is kept.
                    repaired[*index] = message;
                } else if let Some(index) = open.iter().position(|(known, _)| *known == id) {
                    open.remove(index);
                    answered.push((id, repaired.len()));
                    repaired.push(message);
                }
            }
            Some("assistant") => {
                close(&mut open, &mut repaired);
                answered.clear();
                open = calls(&message);
                repaired.push(message);
            }
            _ => {
                close(&mut open, &mut repaired);
                repaired.push(message);
            }
        }
    }
    close(&mut open, &mut repaired);
    repaired
}

fn calls(message: &Value) -> Vec<(Value, Value)> {
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    calls.map(|call| (call["id"].clone(), call["function"]["name"].clone())).collect()
}

/// Adds a result for each call that has none.
fn close(open: &mut Vec<(Value, Value)>, repaired: &mut Vec<Value>) {
    for (id, name) in open.drain(..) {
        let name = name.as_str().unwrap_or("the tool");
        let content = format!("The call of `{name}` was interrupted and gave no result.");
        repaired.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
    }
}

/// Adds a text to an empty message of the user or the assistant.
fn filled(mut message: Value) -> Value {
    let needs_text = matches!(message["role"].as_str(), Some("user" | "assistant"));
    if needs_text && message["content"].as_str().is_some_and(|text| text.trim().is_empty()) {
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
    fn keeps_valid_conversations() {
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
    fn adds_missing_and_removes_surplus_messages() {
        let broken = vec![
            answer("x", "an answer to nothing"),
            json!({"role": "user", "content": " "}),
            json!({"role": "assistant", "content": "", "tool_calls": [call("a"), call("b")]}),
            answer("a", "first"),
            answer("a", "second"),
            answer("x", "another"),
            json!({"role": "user", "content": "well?"}),
        ];
        let repaired = repair(broken);
        let roles: Vec<&str> = repaired.iter().filter_map(|message| message["role"].as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"]);
        assert_eq!((&repaired[0]["content"], &repaired[1]["content"]), (&json!(EMPTY), &json!(EMPTY)));
        assert_eq!(repaired[2], answer("a", "second"));
        assert_eq!(repaired[3]["tool_call_id"], "b");
    }
}
