//! Replaces a long conversation by a summary.

use super::{conversation, prompts};
use crate::{
    flow::{Call, Halt, NodeError},
    load::Fields,
    nodes::llms::{Ask, Model},
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Settings: when a conversation is too long, and how much of it is kept.
#[derive(Debug)]
pub(super) struct Summary {
    /// Tokens that a conversation may have.
    max_tokens: usize,
    /// Tokens of the newest messages, which are kept.
    kept: usize,
    /// Tokens that the model summarises in one request.
    chunk: usize,
}

/// Assumed context window of a model, in tokens: the engine has no list of models.
const CONTEXT_TOKENS: f64 = 128_000.0;
/// Maximum number of requests for a summary if the model returns an empty one.
const MAX_ATTEMPTS: u32 = 3;

impl Summary {
    /// Reads `summarization_config`; none unless it is enabled.
    pub(super) fn read(agent: Fields<'_>) -> Option<Self> {
        let fields = agent.fields("summarization_config")?;
        let part = |key: &str, default: f64| {
            let part = fields.float(key).unwrap_or(default);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 128,000")]
            let tokens = (part.clamp(0.0, 1.0) * CONTEXT_TOKENS) as usize;
            tokens
        };
        let share = part("context_usage_ratio", 0.8);
        let summary = Self {
            max_tokens: fields.count("max_token_context_length").map_or(share, |own| share.min(own as usize)),
            kept: fields.count("max_preserved_tokens").unwrap_or(10_000) as usize,
            chunk: part("token_budget_ratio", 0.75).max(1),
        };
        fields.bool("enabled").unwrap_or(false).then_some(summary)
    }

    /// Whether a conversation of `tokens` tokens is too long.
    pub(super) fn is_too_long(&self, tokens: usize) -> bool {
        tokens > self.max_tokens
    }

    /// Tokens of the newest messages, which are kept.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// Summarises messages, with the settings of `asks` for each request. `key` is the prefix of its journal keys.
    pub(super) async fn of(
        &self,
        call: Call<'_>,
        model: &Model,
        key: &str,
        messages: &[Value],
        asks: &Ask,
    ) -> Result<String, Halt> {
        let parts = chunks(messages.iter().map(written), self.chunk * 4);
        let mut summaries = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            let asked = [json!({"role": "assistant", "content": part}), user(prompts::SUMMARY)];
            summaries.push(ask(call, model, &format!("{key}/{number}"), &asked, asks).await?);
        }
        // Only the first part of the summaries is merged: a further round would add little.
        let merged = chunks(summaries.iter().cloned(), self.chunk * 4);
        match (summaries.len(), merged.first()) {
            (1, _) => Ok(summaries.remove(0)),
            (_, Some(all)) => {
                let asked = [user(all), user(prompts::MERGE)];
                ask(call, model, &format!("{key}/merged"), &asked, asks).await
            }
            (_, None) => Ok(String::new()),
        }
    }
}

fn user(content: &str) -> Value {
    json!({"role": "user", "content": content})
}

async fn ask(
    call: Call<'_>,
    model: &Model,
    key: &str,
    messages: &[Value],
    asks: &Ask,
) -> Result<String, Halt> {
    for attempt in 0..MAX_ATTEMPTS {
        let key = if attempt == 0 { key.to_owned() } else { format!("{key}/{attempt}") };
        let ask = Ask { messages: messages.to_vec(), ..asks.clone() };
        let reply = model.ask(call, &key, &ask, &|_| {}).await?;
        if let Some(text) = reply.content.filter(|text| !text.trim().is_empty()) {
            return Ok(text);
        }
    }
    Err(NodeError::new("ValueError", "the model returned no summary of the conversation").into())
}

/// A message as text for the summary: role, function calls, content.
fn written(message: &Value) -> String {
    let mut text = format!("[{}]", message["role"].as_str().unwrap_or_default());
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        let part = |key: &str| function[key].as_str().unwrap_or_default();
        let _ = write!(text, "\n  {}({})", part("name"), part("arguments"));
    }
    text.push('\n');
    text.push_str(conversation::text(message));
    text
}

/// Joins the texts, in order, into parts of at most `max_bytes` bytes; a longer text is cut.
fn chunks(texts: impl Iterator<Item = String>, max_bytes: usize) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    for mut text in texts {
        if text.len() > max_bytes {
            let end = (0..=max_bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text.push_str("\n[… cut, as it is too long]");
        }
        match chunks.last_mut() {
            Some(last) if last.len() + 2 + text.len() <= max_bytes => {
                last.push_str("\n\n");
                last.push_str(&text);
            }
            _ => chunks.push(text),
        }
    }
    chunks
}
