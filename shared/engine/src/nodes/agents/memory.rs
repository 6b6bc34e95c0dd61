//! An agent's memory: the newest messages of a conversation, stored between runs.

use super::{calling::FINAL_ANSWER, conversation};
use crate::{
    flow::{Call, Halt, NodeError},
    load::Fields,
};
use runyard_runs::{EventBody, MemoryScope, MemoryTurn, NewRun};
use serde_json::{Map, Value, json};
use uuid::{Uuid, Version};

/// Settings of the memory.
#[derive(Debug)]
pub(super) struct Memory {
    /// Maximum number of recalled messages.
    limit: usize,
    /// Whether to store only the user's message and the answer, without the steps between.
    ends_only: bool,
}

/// The reference's backends that only choose where messages are stored. Here all are stored next to the runs.
const BACKENDS: &[&str] = &["InMemory", "SQLite", "PostgreSQL", "DynamoDB", "Dynamiq"];

impl Memory {
    /// Reads the field `memory` of an agent.
    pub(super) fn read(agent: Fields<'_>) -> Option<Self> {
        let fields = agent.fields("memory")?;
        if let Some(backend) = fields.fields("backend")
            && let Some(kind) = backend.text("type")
            && !BACKENDS.contains(&kind.rsplit('.').next().unwrap_or(kind))
        {
            let message =
                format!("memory of type `{kind}` does not run here; use `dynamiq.memory.backends.InMemory`");
            backend.mistake(backend.spot("type"), message);
        }
        let strategies = [("all", true), ("relevant", false), ("both", false)];
        if agent.choice("memory_retrieval_strategy", &strategies) == Some(false) {
            let message = "`memory_retrieval_strategy` must be `all`: the newest messages are recalled";
            agent.mistake(agent.spot("memory_retrieval_strategy"), message.into());
        }
        let limit = agent.count("memory_limit").or(fields.count("message_limit")).unwrap_or(100);
        Some(Self {
            limit: limit as usize,
            ends_only: fields
                .choice("save_mode", &[("full", false), ("input_output", true)])
                .unwrap_or(false),
        })
    }

    /// The newest messages of the conversation, starting with a user's. Journaled, so that a replay recalls the same
    /// ones.
    pub(super) async fn recall(&self, call: Call<'_>, scope: &MemoryScope) -> Result<Vec<Value>, Halt> {
        let key = format!("{}/memory", call.key);
        if let Some(recorded) = call.run.recorded(&key) {
            return Ok(recorded.journal.as_array().cloned().unwrap_or_default());
        }
        let turns = call
            .services
            .memories
            .store()
            .recent(scope, self.limit)
            .await
            .map_err(|error| NodeError::new("MemoryError", format!("memory unavailable: {error}")))?;
        let mut messages: Vec<Value> = turns.into_iter().flat_map(|turn| turn.messages).collect();
        messages.drain(..messages.len().saturating_sub(self.limit));
        let start = messages.iter().position(|message| message["role"] == "user").unwrap_or(messages.len());
        messages.drain(..start);
        if !messages.is_empty() {
            call.run.record(&key, EventBody::RunCheckpoint, Some(messages.clone().into()));
        }
        Ok(messages)
    }

    /// Stores the conversation of this run: `messages`, of which the last is the model's; without an answer, only the
    /// user's message. `guarded`: whether a guard may have changed the model's answer. If the store fails, the agent
    /// does not fail.
    pub(super) async fn keep(
        &self,
        call: Call<'_>,
        scope: &MemoryScope,
        messages: &[Value],
        answer: Option<&Value>,
        guarded: bool,
    ) {
        let as_message = |role: &str, content: &str| json!({"role": role, "content": content});
        let user_message = || messages.first().map(|user| as_message("user", conversation::text(user)));
        let kept: Vec<Value> = match answer {
            None => user_message().into_iter().collect(),
            Some(answer) => {
                let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
                if self.ends_only {
                    user_message().into_iter().chain([as_message("assistant", &text)]).collect()
                } else {
                    let steps = messages.iter().map(without_images);
                    let (steps, replaced) = without_answer(steps.collect(), guarded);
                    steps.into_iter().chain(replaced.then(|| as_message("assistant", &text))).collect()
                }
            }
        };
        let new = call.run.new_run();
        let turn = MemoryTurn {
            run: new.id,
            node: call.key.to_owned(),
            at: new.created_at,
            expires_at: new.expires_at,
            messages: kept,
        };
        if let Err(error) = call.services.memories.store().keep(scope, turn).await {
            tracing::warn!(node = %call.key, %error, "conversation not stored in memory");
        }
    }
}

/// The user and session of the conversation; `None` if no trusted source names them.
///
/// The run is trusted: its caller has an access key, and the caller's server knows the user. Its input and a model are
/// not, as text in an input may come from anywhere. If a run names neither user nor session, its input may, as in the
/// reference.
///
/// Callers without a key are anonymous. They only have the memory of their session, separate from the memories of
/// callers with a key, and only if the session id is a secret: a random UUID.
pub(super) fn whose(run: &NewRun, input: &Map<String, Value>) -> Option<(Option<String>, Option<String>)> {
    if !run.origin.vouches_for_user() {
        let is_secret = |id: &Uuid| matches!(id.get_version(), Some(Version::Random | Version::SortRand));
        let session = run.session_id.filter(is_secret)?;
        return Some((None, Some(format!("anonymous:{session}"))));
    }
    if run.user_id.is_some() || run.session_id.is_some() {
        return Some((run.user_id.clone(), run.session_id.map(|id| id.to_string())));
    }
    let own = |key: &str| {
        let text = input.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        // This prefix is reserved for the sessions of callers without a key.
        text.filter(|text| !text.starts_with("anonymous:")).map(str::to_owned)
    };
    let (user_id, session_id) = (own("user_id"), own("session_id"));
    (user_id.is_some() || session_id.is_some()).then_some((user_id, session_id))
}

/// The messages without the answer at their end, and whether the caller must append the answer as text. An answer that
/// is a function call is removed, as it has no text; so is one that a guard may have changed.
fn without_answer(mut messages: Vec<Value>, guarded: bool) -> (Vec<Value>, bool) {
    let is_call = messages.last().is_some_and(|last| last["name"] == FINAL_ANSWER);
    while messages.last().is_some_and(|last| last["name"] == FINAL_ANSWER) {
        messages.pop();
    }
    let has_answer = messages.last().is_some_and(|last| last["role"] == "assistant");
    if has_answer && (is_call || guarded) {
        messages.pop();
        return (messages, true);
    }
    // The messages do not end with the model's: the answer is another agent's, or was asked for after the last step.
    (messages, !has_answer)
}

/// Images are not stored: they are large, and the model has already processed them.
fn without_images(message: &Value) -> Value {
    let mut message = message.clone();
    if message["content"].is_array() {
        message["content"] = conversation::text(&message).into();
    }
    message
}
