//! Calls to language models, behind a narrow interface: it takes a [`Request`], emits pieces of the answer, and returns
//! a [`Reply`] or an [`LlmError`]. A protocol is one file, and one variant of [`Protocol`].
//!
//! No client crate is used. Evaluated in November 2026: `genai` 0.7 supports Anthropic, Gemini and Bedrock, and accepts
//! our HTTP client; but it drops or renames parameters that it does not know, signs for Bedrock only with the
//! platform's credentials (which no app may have), uses version 1 of Cohere's API, and adds 36,000 lines. `liter-llm`
//! 2.4 opens its own connections, which bypass the checks in `egress`. `async-openai` and `rig` send what their types
//! define, not what the reference sends. A protocol here is about 300 lines.

mod anthropic;
mod aws;
mod bedrock;
mod call;
mod claude;
mod cohere;
mod content;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gemini;
mod google;
mod masked;
mod openai;
mod prices;
mod reply_builder;
pub(crate) mod sse;

pub(crate) use aws::{Keys, path_segment};
pub(crate) use error::LlmError;
pub(crate) use google::Account;
pub(crate) use openai::{Dialect, OPENAI_DIALECT, UsageRequest};
pub(crate) use prices::public as public_price;

use crate::{egress::Http, services::CallSize};
use futures::future::BoxFuture;
use masked::MaskedPieces;
use runyard_runs::{ModelUsage, Price, RunContext, Stopped};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Number of retries within one attempt of a node, as in the reference's client.
const CLIENT_RETRIES: u32 = 2;
/// Wait before the first retry. It doubles with each retry.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(8);
/// A longer wait that the provider asks for is ignored.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// The API of a provider.
#[derive(Debug)]
pub(crate) enum Protocol {
    OpenAi(Dialect),
    Anthropic,
    /// With a service account for Vertex AI.
    Gemini(Option<Account>),
    Bedrock(Keys),
    Cohere,
}

/// URL, credentials and protocol of a model.
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    /// The provider's name, for error messages and prices.
    pub(crate) provider: &'static str,
    /// The complete URL, or the base to which the protocol adds the model.
    pub(crate) url: String,
    /// Headers of each request: the key, and those from the file.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) model: String,
    /// Maximum number of retries of a call.
    pub(crate) retries: u32,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            protocol: Protocol::OpenAi(OPENAI_DIALECT),
            provider: "",
            url: String::new(),
            headers: Vec::new(),
            model: String::new(),
            retries: CLIENT_RETRIES,
        }
    }
}

/// Leaves out headers and credentials, which may be secret.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

/// A request to a model.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The conversation, in the format of the chat completions API.
    pub(crate) messages: Vec<Value>,
    /// All other parameters, by their names in that API.
    pub(crate) parameters: Map<String, Value>,
    /// Whether to stream the answer.
    pub(crate) stream: bool,
}

/// A piece of a streamed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'p> {
    /// Text of the answer.
    Text(&'p str),
    /// Reasoning before the answer, if the provider returns it.
    Thought(&'p str),
    /// Part of the tool call with index `place`. The name is empty in all pieces of a call except one.
    Call { place: usize, name: &'p str, arguments: &'p str },
}

/// Receives pieces.
pub(crate) type Pieces<'p> = dyn Fn(Piece<'_>) + Send + Sync + 'p;

impl Request {
    /// Size of the request and its answer, for budgets. Images and files are not counted.
    pub(crate) fn size(&self) -> CallSize {
        let messages: u64 = self.messages.iter().map(text_length).sum();
        let tools = self.parameters.get("tools").map_or(0, text_length);
        let keys = ["max_completion_tokens", "max_tokens"];
        let max_tokens = keys.iter().find_map(|key| self.parameters.get(*key)?.as_u64());
        CallSize::of(messages + tools, max_tokens)
    }
}

/// Bytes of all text in a value.
fn text_length(value: &Value) -> u64 {
    match value {
        Value::String(text) if text.starts_with("data:") => 0,
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_length).sum(),
        Value::Object(fields) => fields.values().map(text_length).sum(),
        _ => 0,
    }
}

/// A model's reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) content: Option<String>,
    /// `{id, type, function: {name, arguments}}`, with the arguments as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<Value>,
    /// In the terms of the chat completions API: `stop`, `length`, `tool_calls`, `content_filter`.
    pub(crate) finish_reason: Option<String>,
    pub(crate) usage: ModelUsage,
    /// Sources of the answer, if the provider returns them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) citations: Option<Value>,
}

impl Reply {
    /// The tool calls, with their arguments parsed if they are JSON.
    pub(crate) fn parsed_calls(&self) -> Vec<Value> {
        let parse = |mut call: Value| {
            if let Some(arguments) = call.pointer_mut("/function/arguments")
                && let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok())
            {
                *arguments = parsed;
            }
            call
        };
        self.tool_calls.iter().cloned().map(parse).collect()
    }

    /// Whether the provider's content filter removed the whole answer.
    pub(crate) fn is_blocked(&self) -> bool {
        self.content.as_deref().is_none_or(str::is_empty)
            && self.tool_calls.is_empty()
            && self.finish_reason.as_deref() == Some("content_filter")
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum CallError {
    Failed(LlmError),
    Stopped,
}

impl From<Stopped> for CallError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Endpoint {
    /// Calls the model. If the request streams, passes pieces of the answer to `piece`.
    pub(crate) async fn ask(
        &self,
        run: &RunContext,
        http: &Http,
        request: &Request,
        price: Option<Price>,
        piece: &Pieces<'_>,
    ) -> Result<Reply, CallError> {
        // Emitted pieces cannot be revoked, so there is no retry after the first piece.
        let emitted = AtomicBool::new(false);
        let piece = |received: Piece<'_>| {
            emitted.store(true, Ordering::Relaxed);
            piece(received);
        };
        let veiled = MaskedPieces::new(http.secrets(), &piece);
        let piece = |received: Piece<'_>| veiled.give(received);
        for attempt in 0.. {
            run.outside().await?;
            let error = match self.call(http, request, &piece).await {
                Ok(reply) => {
                    veiled.end();
                    let mut reply = reply.hidden(http.secrets());
                    reply.usage.cost_nanodollars = price.map(|price| price.cost(&reply.usage));
                    run.used(&self.model, &reply.usage);
                    return Ok(reply);
                }
                Err(error) => LlmError { message: http.secrets().hide_in_text(error.message), ..error },
            };
            if attempt >= self.retries || !error.client_retries || emitted.load(Ordering::Relaxed) {
                return Err(CallError::Failed(error));
            }
            let wait = match error.retry_after {
                Some(asked) if asked <= MAX_RETRY_AFTER => asked,
                _ => FIRST_WAIT.saturating_mul(1 << attempt.min(8)).min(MAX_WAIT),
            };
            tracing::debug!(model = %self.model, attempt, error = %error.message, "retrying model call");
            tokio::time::sleep(wait).await;
        }
        Err(CallError::Stopped)
    }

    /// Makes one call.
    fn call<'a>(
        &'a self,
        http: &'a Http,
        request: &'a Request,
        piece: &'a Pieces<'a>,
    ) -> BoxFuture<'a, Result<Reply, LlmError>> {
        match &self.protocol {
            Protocol::OpenAi(dialect) => Box::pin(openai::ask(self, dialect, http, request, piece)),
            Protocol::Anthropic => Box::pin(anthropic::ask(self, http, request, piece)),
            Protocol::Gemini(account) => Box::pin(gemini::ask(self, account.as_ref(), http, request, piece)),
            Protocol::Bedrock(keys) => Box::pin(bedrock::ask(self, keys, http, request, piece)),
            Protocol::Cohere => Box::pin(cohere::ask(self, http, request, piece)),
        }
    }
}
