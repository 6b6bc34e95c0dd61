//! Calls to language models, behind one narrow seam: a [`Request`] in, a [`Reply`] or an [`LlmError`] out, pieces of
//! text on the way. A protocol is one file, and one arm of [`Protocol`].

mod error;
mod openai;
pub(crate) mod sse;

pub(crate) use error::LlmError;

use crate::egress::Http;
use runyard_runs::{ModelUsage, RunContext, Stopped};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// How often a client tries again within one attempt of a node, as the reference's client does.
const CLIENT_RETRIES: u32 = 2;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// A provider that asks for a longer wait is not waited for.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// How to talk to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `POST {url}/chat/completions`, as `OpenAI` and most others speak it.
    OpenAi,
}

/// Where a model is.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    /// The provider's name, for messages.
    pub(crate) provider: &'static str,
    pub(crate) url: String,
    pub(crate) api_key: String,
    pub(crate) model: String,
}

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
            let arguments = &mut call["function"]["arguments"];
            if let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok()) {
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
        piece: &Pieces<'_>,
    ) -> Result<Reply, Unanswered> {
        for attempt in 0.. {
            run.outside().await?;
            let answer = match self.protocol {
                Protocol::OpenAi => openai::ask(self, http, request, piece).await,
            };
            let error = match answer {
                Ok(reply) => {
                    run.used(&self.model, &reply.usage);
                    return Ok(reply);
                }
                Err(error) => error,
            };
            if attempt >= CLIENT_RETRIES || !error.client_retries {
                return Err(Unanswered::Failed(error));
            }
            let wait = match error.retry_after {
                Some(asked) if asked <= LONGEST_ASKED => asked,
                _ => FIRST_WAIT.saturating_mul(1 << attempt).min(LONGEST_WAIT),
            };
            tracing::debug!(model = %self.model, attempt, error = %error.message, "asking the model again");
            tokio::time::sleep(wait).await;
        }
        Err(Unanswered::Stopped)
    }
}
