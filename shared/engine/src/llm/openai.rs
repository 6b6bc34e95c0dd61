//! The chat completions API of `OpenAI` and most other providers, each with its own dialect.

use super::{
    Endpoint, LlmError, Pieces, Reply, Request,
    call::{error_text, tokens},
    content,
    reply_builder::ReplyBuilder,
    sse,
};
use crate::egress::Http;
use reqwest::Response;
use runyard_runs::ModelUsage;
use serde_json::{Map, Value, json};

/// How a provider's dialect differs from `OpenAI`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Parameters that the provider does not accept, and that are not sent.
    pub(crate) unknown: &'static [&'static str],
    /// Parameters with another name: `OpenAI`'s, the provider's.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// Value of `tool_choice` that requires a call of any tool.
    pub(crate) any_tool: &'static str,
    /// Whether to send `stream` if it is false.
    pub(crate) says_stream: bool,
    pub(crate) usage: UsageRequest,
    /// Whether messages must be plain text, to which their parts are joined.
    pub(crate) flat: bool,
    /// Whether a last message of the assistant is marked as the start of the answer.
    pub(crate) prefix: bool,
}

/// How to request the token usage of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageRequest {
    /// By `stream_options`, for streams only.
    OfStreams,
    /// By `usage`, for all answers.
    OfAll,
    /// Not at all: the provider always returns it.
    Not,
}

/// `OpenAI`'s dialect.
pub(crate) const OPENAI_DIALECT: Dialect = Dialect {
    unknown: &["thinking"],
    renamed: &[],
    any_tool: "required",
    says_stream: false,
    usage: UsageRequest::OfStreams,
    flat: false,
    prefix: false,
};

/// Makes one call.
pub(super) async fn ask(
    endpoint: &Endpoint,
    dialect: &Dialect,
    http: &Http,
    request: &Request,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    let body = body(endpoint, dialect, request);
    let response = endpoint.post(http, &endpoint.url, |post| post.json(&body)).await?;
    read(endpoint, request.stream, response, piece).await
}

/// Reads an answer.
pub(super) async fn read(
    endpoint: &Endpoint,
    stream: bool,
    response: Response,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    if !stream {
        return reply(endpoint, &endpoint.json(response).await?);
    }
    let mut gathered = ReplyBuilder::new(piece);
    sse::each(endpoint, response, |data| add(&mut gathered, endpoint, data)).await?;
    gathered.finish(endpoint)
}

fn body(endpoint: &Endpoint, dialect: &Dialect, request: &Request) -> Value {
    let mut messages = request.messages.clone();
    if dialect.flat {
        messages.iter_mut().for_each(content::flatten);
    }
    if dialect.prefix
        && let Some(last) = messages.last_mut().filter(|last| last["role"] == "assistant")
    {
        last["prefix"] = true.into();
    }
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.clone().into());
    body.insert("messages".into(), messages.into());
    for (name, value) in &request.parameters {
        if dialect.unknown.contains(&name.as_str()) {
            continue;
        }
        let renamed = dialect.renamed.iter().find(|(known, _)| known == name);
        let name = renamed.map_or(name.as_str(), |(_, renamed)| renamed);
        let value = match value.as_str() {
            Some("required") if name == "tool_choice" => dialect.any_tool.into(),
            _ => value.clone(),
        };
        body.insert(name.to_owned(), value);
    }
    if dialect.usage == UsageRequest::OfAll {
        body.entry("usage").or_insert_with(|| json!({"include": true}));
    }
    if request.stream {
        body.insert("stream".into(), true.into());
        if dialect.usage == UsageRequest::OfStreams {
            body.entry("stream_options").or_insert_with(|| json!({"include_usage": true}));
        }
    } else if dialect.says_stream {
        body.insert("stream".into(), false.into());
    }
    Value::Object(body)
}

fn reply(endpoint: &Endpoint, answer: &Value) -> Result<Reply, LlmError> {
    let choice = &answer["choices"][0];
    if !choice.is_object() {
        let text = error_text(&answer.to_string());
        return Err(LlmError::connection(format!("{} answered without a choice: {text}", endpoint.provider)));
    }
    let message = &choice["message"];
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    Ok(Reply {
        content: message["content"].as_str().map(str::to_owned),
        // What is no object is no call, and nobody who changes one expects it.
        tool_calls: calls.filter(|call| call.is_object()).cloned().collect(),
        finish_reason: choice["finish_reason"].as_str().map(str::to_owned),
        usage: ModelUsage { llm_calls: 1, ..usage(&answer["usage"]) },
        citations: citations(answer),
    })
}

fn citations(answer: &Value) -> Option<Value> {
    answer.get("citations").filter(|citations| citations.is_array()).cloned()
}

fn usage(usage: &Value) -> ModelUsage {
    let count = |value: &Value| tokens(value).unwrap_or(0);
    // DeepSeek has its own field for cached tokens.
    let cached = tokens(&usage["prompt_tokens_details"]["cached_tokens"]);
    ModelUsage {
        input_tokens: count(&usage["prompt_tokens"]),
        output_tokens: count(&usage["completion_tokens"]),
        cached_tokens: cached.unwrap_or_else(|| count(&usage["prompt_cache_hit_tokens"])),
        ..ModelUsage::default()
    }
}

/// Adds an event of a stream; returns whether it was the last.
fn add(gathered: &mut ReplyBuilder<'_>, endpoint: &Endpoint, data: &str) -> Result<bool, LlmError> {
    if data == "[DONE]" {
        return Ok(true);
    }
    let chunk = endpoint.piece(data)?;
    if chunk["error"].is_object() || chunk["error"].is_string() {
        return Err(endpoint.broke_off(data));
    }
    // Groq has its own field for the usage of a stream.
    for field in [&chunk["usage"], &chunk["x_groq"]["usage"]] {
        if field.is_object() {
            gathered.usage = usage(field);
        }
    }
    if let Some(citations) = citations(&chunk) {
        gathered.citations = Some(citations);
    }
    let choice = &chunk["choices"][0];
    let delta = &choice["delta"];
    for thought in [&delta["reasoning_content"], &delta["reasoning"]] {
        gathered.thought(thought.as_str().unwrap_or_default());
    }
    if let Some(text) = delta["content"].as_str() {
        gathered.text(text);
    }
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        let index = call["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        let index = index.unwrap_or_else(|| gathered.calls().saturating_sub(1));
        let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
        let function = &call["function"];
        gathered.call(index, &text(&call["id"]), &text(&function["name"]), &text(&function["arguments"]));
    }
    if let Some(reason) = choice["finish_reason"].as_str() {
        gathered.finish_reason = Some(reason.to_owned());
    }
    Ok(false)
}
