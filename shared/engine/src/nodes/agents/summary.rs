//! A long conversation is replaced by a summary of it.

use super::{conversation, prompts};
use crate::{
    flow::{Call, Halt, NodeError},
    load::Fields,
    nodes::llms::{Ask, Model},
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// When a conversation is too long, and what is kept of it.
#[derive(Debug)]
pub(super) struct Summary {
    /// Tokens from which on it is too long.
    most: usize,
    /// Tokens of the newest messages that are kept.
    kept: usize,
    /// Tokens that the model is given at once to summarise.
    chunk: usize,
}

/// The tokens that a model takes, as far as is known: no list of models is kept here.
const CONTEXT: f64 = 128_000.0;
/// How often a model is asked for a summary that comes out empty.
const TRIES: u32 = 3;

impl Summary {
    /// Reads `summarization_config`; none unless it is enabled.
    pub(super) fn read(agent: Fields<'_>) -> Option<Self> {
        let fields = agent.fields("summarization_config")?;
        let part = |key: &str, default: f64| {
            let part = fields.float(key).unwrap_or(default);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped, far from both ends"
            )]
            let tokens = (part.clamp(0.0, 1.0) * CONTEXT) as usize;
            tokens
        };
        let most = part("context_usage_ratio", 0.8);
        let summary = Self {
            most: fields.count("max_token_context_length").map_or(most, |own| most.min(own as usize)),
            kept: fields.count("max_preserved_tokens").unwrap_or(10_000) as usize,
            chunk: part("token_budget_ratio", 0.75).max(1),
        };
        fields.bool("enabled").unwrap_or(false).then_some(summary)
    }

    /// Whether a conversation of `tokens` tokens is too long.
    pub(super) fn is_too_long(&self, tokens: usize) -> bool {
        tokens > self.most
    }

    /// Tokens of the newest messages that are kept.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// Summarises messages, asking as `asks` says. `key` names it in the journal.
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
        // What is still too long after one more round is cut: a summary of summaries says little more.
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
    for attempt in 0..TRIES {
        let key = if attempt == 0 { key.to_owned() } else { format!("{key}/{attempt}") };
        let ask = Ask { messages: messages.to_vec(), ..asks.clone() };
        let reply = model.ask(call, &key, &ask, &|_| {}).await?;
        if let Some(text) = reply.content.filter(|text| !text.trim().is_empty()) {
            return Ok(text);
        }
    }
    Err(NodeError::new("ValueError", "the model gives no summary of the conversation").into())
}

/// A message as it is shown to who summarises: who, what was called, what was said.
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

/// The texts in as few parts as possible of at most `most` bytes each; a longer text is cut.
fn chunks(texts: impl Iterator<Item = String>, most: usize) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    for mut text in texts {
        if text.len() > most {
            let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text.push_str("\n[… cut, as it is too long]");
        }
        match chunks.last_mut() {
            Some(last) if last.len() + 2 + text.len() <= most => {
                last.push_str("\n\n");
                last.push_str(&text);
            }
            _ => chunks.push(text),
        }
    }
    chunks
}
