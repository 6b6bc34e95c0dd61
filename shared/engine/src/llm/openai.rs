//! The chat completions API.

use super::{Endpoint, LlmError, Piece, Pieces, Reply, Request, sse::Events};
use crate::egress::Http;
use reqwest::{Response, header};
use runyard_runs::ModelUsage;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How much of an error's text is kept.
const MAX_ERROR_TEXT: usize = 2000;

/// Makes one call.
pub(super) async fn ask(
    endpoint: &Endpoint,
    http: &Http,
    request: &Request,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    let response = send(endpoint, http, &body(endpoint, request)).await?;
    if request.stream {
        return stream(endpoint, response, piece).await;
    }
    let text = response.bytes().await.map_err(|error| LlmError::connection(explain(&error)))?;
    let answer: Value = serde_json::from_slice(&text)
        .map_err(|_| LlmError::connection(format!("{} answered no JSON", endpoint.provider)))?;
    reply(endpoint, &answer)
}

fn body(endpoint: &Endpoint, request: &Request) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.clone().into());
    body.insert("messages".into(), request.messages.clone().into());
    body.extend(request.parameters.iter().map(|(key, value)| (key.clone(), value.clone())));
    if request.stream {
        body.insert("stream".into(), true.into());
        body.entry("stream_options").or_insert_with(|| json!({"include_usage": true}));
    }
    Value::Object(body)
}

async fn send(endpoint: &Endpoint, http: &Http, body: &Value) -> Result<Response, LlmError> {
    let url = format!("{}/chat/completions", endpoint.url.trim_end_matches('/'));
    let (client, url) = http.open(&url).map_err(|refused| LlmError::refused(refused.to_string()))?;
    let response = client
        .post(url)
        .bearer_auth(&endpoint.api_key)
        .json(body)
        .send()
        .await
        .map_err(|error| LlmError::connection(explain(&error)))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let wait = retry_after(&response);
    let text = response.text().await.unwrap_or_default();
    Err(LlmError::status(endpoint.provider, status, &error_text(&text), wait))
}

/// An error with its causes, which alone say what went wrong; without the URL, which may hold a key.
fn explain(error: &reqwest::Error) -> String {
    let mut text = "the call failed".to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = header("retry-after-ms")
        .map(|milliseconds| milliseconds / 1000.0)
        .or_else(|| header(header::RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The message of `{"error": {"message"}}`, with its code; else the text as it came.
fn error_text(text: &str) -> String {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let error = &answer["error"];
    let message = error["message"].as_str().or_else(|| error.as_str()).unwrap_or(text);
    let mut message: String = message.chars().take(MAX_ERROR_TEXT).collect();
    if let Some(code) = error["code"].as_str() {
        message = format!("{message} ({code})");
    }
    message
}

fn reply(endpoint: &Endpoint, answer: &Value) -> Result<Reply, LlmError> {
    let choice = &answer["choices"][0];
    if !choice.is_object() {
        let text = error_text(&answer.to_string());
        return Err(LlmError::connection(format!("{} answered without a choice: {text}", endpoint.provider)));
    }
    let message = &choice["message"];
    Ok(Reply {
        content: message["content"].as_str().map(str::to_owned),
        tool_calls: message["tool_calls"].as_array().cloned().unwrap_or_default(),
        finish_reason: choice["finish_reason"].as_str().map(str::to_owned),
        usage: usage(&answer["usage"]),
        citations: None,
    })
}

fn usage(usage: &Value) -> ModelUsage {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    ModelUsage {
        llm_calls: 1,
        input_tokens: count(&usage["prompt_tokens"]),
        output_tokens: count(&usage["completion_tokens"]),
        cached_tokens: count(&usage["prompt_tokens_details"]["cached_tokens"]),
        cost_nanodollars: None,
    }
}

async fn stream(endpoint: &Endpoint, mut response: Response, piece: &Pieces<'_>) -> Result<Reply, LlmError> {
    let mut events = Events::default();
    let mut gathered = Gathered::default();
    while let Some(bytes) = response.chunk().await.map_err(|error| LlmError::broken(explain(&error)))? {
        let data = events
            .push(&bytes)
            .ok_or_else(|| LlmError::broken(format!("{} sends no events", endpoint.provider)))?;
        for data in data {
            if data == "[DONE]" {
                return gathered.finish(endpoint);
            }
            gathered.add(endpoint, &data, piece)?;
        }
    }
    if let Some(data) = events.rest().filter(|data| data != "[DONE]") {
        gathered.add(endpoint, &data, piece)?;
    }
    gathered.finish(endpoint)
}

/// What a stream's pieces add up to.
#[derive(Default)]
struct Gathered {
    content: Option<String>,
    tool_calls: Vec<ToolCall>,
    finish_reason: Option<String>,
    usage: ModelUsage,
}

#[derive(Default)]
struct ToolCall {
    id: String,
    name: String,
    arguments: String,
}

impl Gathered {
    fn add(&mut self, endpoint: &Endpoint, data: &str, piece: &Pieces<'_>) -> Result<(), LlmError> {
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            return Err(LlmError::broken(format!("{} sent a piece that is no JSON", endpoint.provider)));
        };
        if chunk["error"].is_object() || chunk["error"].is_string() {
            let text = error_text(data);
            return Err(LlmError::broken(format!("{} broke off: {text}", endpoint.provider)));
        }
        if chunk["usage"].is_object() {
            self.usage = usage(&chunk["usage"]);
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        if let Some(text) = delta["content"].as_str() {
            self.content.get_or_insert_default().push_str(text);
            if !text.is_empty() {
                piece(Piece::Text(text));
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.add_call(call, piece);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        Ok(())
    }

    fn add_call(&mut self, call: &Value, piece: &Pieces<'_>) {
        let last = self.tool_calls.len().saturating_sub(1);
        let place = call["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(last);
        if place > self.tool_calls.len() {
            return;
        }
        if place == self.tool_calls.len() {
            self.tool_calls.push(ToolCall::default());
        }
        let gathered = &mut self.tool_calls[place];
        let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
        let (name, arguments) = (text(&call["function"]["name"]), text(&call["function"]["arguments"]));
        gathered.id.push_str(&text(&call["id"]));
        gathered.name.push_str(&name);
        gathered.arguments.push_str(&arguments);
        piece(Piece::Call { place, name: &name, arguments: &arguments });
    }

    fn finish(self, endpoint: &Endpoint) -> Result<Reply, LlmError> {
        if self.finish_reason.is_none() && self.content.is_none() && self.tool_calls.is_empty() {
            return Err(LlmError::broken(format!(
                "{} ended the stream without an answer",
                endpoint.provider
            )));
        }
        let tool_calls = self.tool_calls.into_iter().map(|call| {
            json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })
        });
        Ok(Reply {
            content: self.content,
            tool_calls: tool_calls.collect(),
            finish_reason: self.finish_reason,
            usage: ModelUsage { llm_calls: 1, ..self.usage },
            citations: None,
        })
    }
}
