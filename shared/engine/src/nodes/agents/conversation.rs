//! The conversation of an agent with its model.

use super::{
    calling,
    mode::{InvalidReply, Mode},
};
use crate::{llm::Reply, python_json};
use serde_json::{Value, json};

/// Prefix of the result of a failed call.
const FAILED_PREFIX: &str = "[tool_error]";

/// Messages in the format of the chat completions API: the system message, the remembered ones, the user's, and the
/// steps.
#[derive(Debug)]
pub(super) struct Conversation {
    mode: Mode,
    messages: Vec<Value>,
    /// Index of the first message of this execution of the agent.
    own: usize,
    /// Function calls without a reply so far, by the model's ids.
    pending: Vec<String>,
}

/// The result of a call.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// The tool's name, as the model wrote it.
    pub(super) name: String,
    /// The model's id of the call, in function calling.
    pub(super) id: Option<String>,
    pub(super) text: String,
    pub(super) success: bool,
}

impl Observed {
    /// The text, with a prefix if the call failed.
    fn marked(&self) -> String {
        mark(&self.text, self.success)
    }
}

fn mark(text: &str, success: bool) -> String {
    if success || text.starts_with(FAILED_PREFIX) {
        text.to_owned()
    } else {
        format!("{FAILED_PREFIX} {text}")
    }
}

impl Conversation {
    pub(super) fn new(mode: Mode, system: &str, remembered: Vec<Value>, user: &Value) -> Self {
        let mut messages = vec![json!({"role": "system", "content": system})];
        if !remembered.is_empty() {
            let content = "What follows is the conversation so far. Take it into account.";
            messages.push(json!({"role": "system", "content": content}));
        }
        messages.extend(remembered);
        let own = messages.len();
        messages.push(json!({"role": "user", "content": user}));
        Self { mode, messages, own, pending: Vec::new() }
    }

    pub(super) fn messages(&self) -> &[Value] {
        &self.messages
    }

    /// The messages of this execution of the agent.
    pub(super) fn own(&self) -> &[Value] {
        &self.messages[self.own.min(self.messages.len())..]
    }

    /// Adds the model's reply; `iteration` is part of the ids of calls that have none.
    pub(super) fn said(&mut self, reply: &Reply, iteration: u32) {
        if self.mode != Mode::FunctionCalling {
            let text = self.mode.text(reply);
            if !text.is_empty() {
                self.messages.push(json!({"role": "assistant", "content": text}));
            }
            return;
        }
        self.pending.clear();
        if reply.tool_calls.is_empty() {
            return;
        }
        let calls: Vec<Value> = with_ids(&reply.tool_calls, iteration)
            .into_iter()
            .map(|call| {
                let arguments = &call["function"]["arguments"];
                let text = arguments.as_str().unwrap_or_default();
                let arguments = match serde_json::from_str::<Value>(text) {
                    Ok(parsed) => python_json::ascii(&parsed),
                    Err(_) => text.to_owned(),
                };
                json!({
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": calling::name(&call), "arguments": arguments},
                })
            })
            .collect();
        let names: Vec<&str> = calls.iter().map(calling::name).collect();
        let content = format!("Calling: {}", names.join(", "));
        let (answers, tools): (Vec<&Value>, Vec<&Value>) =
            calls.iter().partition(|call| calling::name(call) == calling::FINAL_ANSWER);
        let id = |call: &Value| call["id"].as_str().unwrap_or_default().to_owned();
        self.pending = tools.into_iter().map(id).collect();
        let answers: Vec<String> = answers.into_iter().map(id).collect();
        self.messages.push(json!({"role": "assistant", "content": content, "tool_calls": calls}));
        let refusal = if self.pending.is_empty() {
            "Acknowledged."
        } else {
            "Not accepted: you called tools in the same step, so this answer was written before their results were \
             there. They follow; answer again with them."
        };
        for id in answers {
            self.messages.push(json!({
                "role": "tool", "content": refusal, "tool_call_id": id, "name": calling::FINAL_ANSWER,
            }));
        }
    }

    /// Adds the result of one call.
    pub(super) fn observe(&mut self, result: &Observed) {
        if !self.pending.is_empty() {
            return self.reply(std::slice::from_ref(result), &result.marked());
        }
        self.observation(&result.marked());
    }

    /// Adds the results of calls that were made together.
    pub(super) fn observe_all(&mut self, results: &[Observed]) {
        let parts: Vec<String> = results
            .iter()
            .map(|result| {
                let status = if result.success { "SUCCESS" } else { "ERROR" };
                format!("--- {} has resulted in {status} ---\n{}", result.name, result.text)
            })
            .collect();
        let all = parts.join("\n\n");
        if self.pending.is_empty() { self.observation(&all) } else { self.reply(results, &all) }
    }

    /// Adds the reason why none of the calls was made.
    pub(super) fn refuse(&mut self, why: &str) {
        let why = mark(why, false);
        if self.pending.is_empty() { self.observation(&why) } else { self.reply(&[], &why) }
    }

    fn observation(&mut self, text: &str) {
        self.messages.push(json!({"role": "user", "content": format!("Observation: {text}\n")}));
    }

    /// Replies to each pending function call, with `text` if it has no result of its own.
    fn reply(&mut self, results: &[Observed], text: &str) {
        for id in std::mem::take(&mut self.pending) {
            let own = match results {
                [only] if only.id.is_none() => Some(only),
                _ => results.iter().find(|result| result.id.as_ref() == Some(&id)),
            };
            let content = own.map_or_else(|| text.to_owned(), Observed::marked);
            let mut message = json!({"role": "tool", "content": content, "tool_call_id": id});
            if let Some(own) = own {
                message["name"] = own.name.as_str().into();
            }
            self.messages.push(message);
        }
    }

    /// Adds why the reply could not be used, and what the model should do.
    pub(super) fn correct(&mut self, unparsed: &InvalidReply) {
        let advice = unparsed.advice.unwrap_or(self.mode.advice());
        let problem = &unparsed.problem;
        if self.pending.is_empty() {
            let content = format!("Your last reply could not be used: {problem}. {advice}");
            self.messages.push(json!({"role": "user", "content": content}));
        } else {
            let why = format!("the call could not be made: {problem}. {advice}");
            self.reply(&[], &why);
        }
    }

    /// The text of the last message.
    pub(super) fn last(&self) -> &str {
        self.messages.last().map(text).unwrap_or_default()
    }

    /// Estimated number of tokens of the messages from index `from` on.
    pub(super) fn tokens(&self, from: usize) -> usize {
        self.messages[from.min(self.messages.len())..].iter().map(tokens).sum()
    }

    /// Index of the first of the newest messages that have at most `max_tokens` tokens together. It never separates a
    /// call from its results, and never includes the system message.
    pub(super) fn newest(&self, max_tokens: usize) -> usize {
        let mut start = self.messages.len();
        let mut sum = 0;
        while start > 1 {
            sum += tokens(&self.messages[start - 1]);
            if sum > max_tokens {
                break;
            }
            start -= 1;
        }
        while self.messages.get(start).is_some_and(|message| message["role"] == "tool") {
            start += 1;
        }
        start
    }

    /// Replaces all messages before index `kept`, except the system message, by `summary`.
    pub(super) fn compact(&mut self, summary: &str, kept: usize) {
        let kept = self.messages.split_off(kept.min(self.messages.len()));
        self.messages.truncate(1);
        self.own = 1;
        self.observation(summary);
        self.messages.extend(kept);
    }
}

/// The calls, each with an id.
pub(super) fn with_ids(calls: &[Value], iteration: u32) -> Vec<Value> {
    let named = calls.iter().enumerate().map(|(index, call)| {
        let mut call = call.clone();
        if call["id"].as_str().is_none_or(str::is_empty) {
            call["id"] = format!("call_{iteration}_{index}").into();
        }
        call
    });
    named.collect()
}

/// The text of a message; of a message with parts, its first text.
pub(super) fn text(message: &Value) -> &str {
    match &message["content"] {
        Value::String(text) => text,
        Value::Array(parts) => parts.iter().find_map(|part| part["text"].as_str()).unwrap_or("(image)"),
        _ => "",
    }
}

/// Estimated number of tokens of a message: one for four bytes, because each provider has its own tokenizer.
fn tokens(message: &Value) -> usize {
    let calls: usize =
        message["tool_calls"].as_array().into_iter().flatten().map(|call| call.to_string().len()).sum();
    4 + (text(message).len() + calls).div_ceil(4)
}
