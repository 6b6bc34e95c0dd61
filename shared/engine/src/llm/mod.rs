//! Calls to language models, behind one narrow seam: a [`Request`] in, a [`Reply`] or an [`LlmError`] out, pieces of the
//! answer on the way. A protocol is one file, and one arm of [`Protocol`].
//!
//! No client crate stands behind the seam. What was weighed, in November 2026: `genai` 0.7 would serve Anthropic, Gemini
//! and Bedrock, and takes a client of ours; but it drops or renames what a node says beyond its own options, signs for
//! Bedrock only with the platform's credentials (which no app may have), speaks version 1 of Cohere's API, and adds 36,000
//! lines. `liter-llm` 2.4 makes its connections by itself, past the guard in `egress`. `async-openai` and `rig` send what
//! their types know, not what the reference sends. A protocol here is about 300 lines.

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
mod gathered;
mod gemini;
mod google;
mod openai;
mod prices;
pub(crate) mod sse;
mod veiled;

pub(crate) use aws::{Keys, path_segment};
pub(crate) use error::LlmError;
pub(crate) use google::Account;
pub(crate) use openai::{Accent, AskUsage, PLAIN};
pub(crate) use prices::public as public_price;

use crate::{egress::Http, services::CallSize};
use futures::future::BoxFuture;
use runyard_runs::{ModelUsage, Price, RunContext, Stopped};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use veiled::Veiled;

/// How often a client tries again within one attempt of a node, as the reference's client does.
const CLIENT_RETRIES: u32 = 2;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// A provider that asks for a longer wait is not waited for.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// How to talk to a provider.
#[derive(Debug)]
pub(crate) enum Protocol {
    OpenAi(Accent),
    Anthropic,
    /// With a service account, as Vertex AI wants it.
    Gemini(Option<Account>),
    Bedrock(Keys),
    Cohere,
}

/// Where a model is.
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    /// The provider's name, for messages.
    pub(crate) provider: &'static str,
    /// The whole of it, or what the protocol adds the model to.
    pub(crate) url: String,
    /// What is sent along: the key, and what the file adds.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) model: String,
    /// How often a call is made again.
    pub(crate) retries: u32,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            protocol: Protocol::OpenAi(PLAIN),
            provider: "",
            url: String::new(),
            headers: Vec::new(),
            model: String::new(),
            retries: CLIENT_RETRIES,
        }
    }
}

/// Without what may be secret.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

/// What is asked of a model.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The conversation, in the shape of the chat completions API.
    pub(crate) messages: Vec<Value>,
    /// All else, by the names of that API.
    pub(crate) parameters: Map<String, Value>,
    /// Whether the answer is wanted piece by piece.
    pub(crate) stream: bool,
}

/// A piece of an answer that is not whole yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'p> {
    /// Of its text.
    Text(&'p str),
    /// Of what the model thinks before it answers, if the provider tells.
    Thought(&'p str),
    /// Of a tool call, by its place among the calls. The name comes once, and is empty in all other pieces.
    Call { place: usize, name: &'p str, arguments: &'p str },
}

/// Takes pieces.
pub(crate) type Pieces<'p> = dyn Fn(Piece<'_>) + Send + Sync + 'p;

impl Request {
    /// How large the call is. Images and files are not counted.
    pub(crate) fn size(&self) -> CallSize {
        let messages: u64 = self.messages.iter().map(text_length).sum();
        let tools = self.parameters.get("tools").map_or(0, text_length);
        let most = ["max_completion_tokens", "max_tokens"];
        let most = most.iter().find_map(|key| self.parameters.get(*key)?.as_u64());
        CallSize::of(messages + tools, most)
    }
}

/// The bytes of all text in a value.
fn text_length(value: &Value) -> u64 {
    match value {
        Value::String(text) if text.starts_with("data:") => 0,
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_length).sum(),
        Value::Object(fields) => fields.values().map(text_length).sum(),
        _ => 0,
    }
}

/// What a model answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) content: Option<String>,
    /// `{id, type, function: {name, arguments}}`, the arguments as the model wrote them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<Value>,
    /// In the words of the chat completions API: `stop`, `length`, `tool_calls`, `content_filter`.
    pub(crate) finish_reason: Option<String>,
    pub(crate) usage: ModelUsage,
    /// Where the model has it from, if the provider tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) citations: Option<Value>,
}

impl Reply {
    /// The tool calls, their arguments parsed where they are JSON.
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

    /// Whether the provider's content filter left nothing of it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.content.as_deref().is_none_or(str::is_empty)
            && self.tool_calls.is_empty()
            && self.finish_reason.as_deref() == Some("content_filter")
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum Unanswered {
    Failed(LlmError),
    Stopped,
}

impl From<Stopped> for Unanswered {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Endpoint {
    /// Asks the model. Gives pieces of the answer to `piece` as they come, if the request wants them.
    pub(crate) async fn ask(
        &self,
        run: &RunContext,
        http: &Http,
        request: &Request,
        price: Option<Price>,
        piece: &Pieces<'_>,
    ) -> Result<Reply, Unanswered> {
        // Pieces that were shown cannot be taken back: then the client does not ask again.
        let shown = AtomicBool::new(false);
        let piece = |given: Piece<'_>| {
            shown.store(true, Ordering::Relaxed);
            piece(given);
        };
        let veiled = Veiled::new(http.secrets(), &piece);
        let piece = |given: Piece<'_>| veiled.give(given);
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
            if attempt >= self.retries || !error.client_retries || shown.load(Ordering::Relaxed) {
                return Err(Unanswered::Failed(error));
            }
            let wait = match error.retry_after {
                Some(asked) if asked <= LONGEST_ASKED => asked,
                _ => FIRST_WAIT.saturating_mul(1 << attempt.min(8)).min(LONGEST_WAIT),
            };
            tracing::debug!(model = %self.model, attempt, error = %error.message, "asking the model again");
            tokio::time::sleep(wait).await;
        }
        Err(Unanswered::Stopped)
    }

    /// Makes one call.
    fn call<'a>(
        &'a self,
        http: &'a Http,
        request: &'a Request,
        piece: &'a Pieces<'a>,
    ) -> BoxFuture<'a, Result<Reply, LlmError>> {
        match &self.protocol {
            Protocol::OpenAi(accent) => Box::pin(openai::ask(self, accent, http, request, piece)),
            Protocol::Anthropic => Box::pin(anthropic::ask(self, http, request, piece)),
            Protocol::Gemini(account) => Box::pin(gemini::ask(self, account.as_ref(), http, request, piece)),
            Protocol::Bedrock(keys) => Box::pin(bedrock::ask(self, keys, http, request, piece)),
            Protocol::Cohere => Box::pin(cohere::ask(self, http, request, piece)),
        }
    }
}
