//! Cohere's chat API, version 2.

use super::{
    Endpoint, LlmError, Pieces, Reply, Request,
    call::tokens,
    content::{schema, text},
    reply_builder::ReplyBuilder,
    sse,
};
use crate::egress::Http;
use reqwest::Response;
use runyard_runs::ModelUsage;
use serde_json::{Map, Value, json};

/// Makes one call.
pub(super) async fn ask(
    endpoint: &Endpoint,
    http: &Http,
    request: &Request,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    let body = body(endpoint, request);
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
    let mut gathered = ReplyBuilder::new(piece);
    if stream {
        sse::each(endpoint, response, |data| add(&mut gathered, endpoint, data)).await?;
    } else {
        let answer = endpoint.json(response).await?;
        let message = &answer["message"];
        for part in message["content"].as_array().into_iter().flatten() {
            match part["type"].as_str() {
                Some("thinking") => gathered.thought(part["thinking"].as_str().unwrap_or_default()),
                _ => gathered.text(part["text"].as_str().unwrap_or_default()),
            }
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            add_call(&mut gathered, call, true);
        }
        end(&mut gathered, endpoint, &answer)?;
    }
    gathered.finish(endpoint)
}

fn body(endpoint: &Endpoint, request: &Request) -> Value {
    let mut parameters = request.parameters.clone();
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.clone().into());
    body.insert("messages".into(), request.messages.iter().map(message).collect());
    parameters.remove("parallel_tool_calls");
    for (name, known) in
        [("top_p", "p"), ("top_k", "k"), ("stop", "stop_sequences"), ("max_completion_tokens", "max_tokens")]
    {
        if let Some(value) = parameters.remove(name) {
            let value = if name == "stop" && !value.is_array() { json!([value]) } else { value };
            body.insert(known.into(), value);
        }
    }
    let choice = parameters.remove("tool_choice");
    match choice.as_ref().and_then(Value::as_str) {
        Some("required" | "any") => drop(body.insert("tool_choice".into(), "REQUIRED".into())),
        Some("none") => drop(body.insert("tool_choice".into(), "NONE".into())),
        _ => {}
    }
    if let Some(format) = parameters.remove("response_format") {
        let made = match schema(Some(&format)) {
            Some(schema) => json!({"type": "json_object", "schema": schema}),
            None => json!({"type": "json_object"}),
        };
        if format["type"] == "json_schema" || format["type"] == "json_object" {
            body.insert("response_format".into(), made);
        }
    }
    body.extend(parameters);
    body.insert("stream".into(), request.stream.into());
    Value::Object(body)
}

fn message(message: &Value) -> Value {
    let mut message = message.clone();
    let has_calls = message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    // The API refuses empty content next to tool calls.
    let is_empty = !message["content"].is_array() && message["content"].as_str().is_none_or(str::is_empty);
    if has_calls
        && is_empty
        && let Some(message) = message.as_object_mut()
    {
        message.remove("content");
    }
    if message["role"] == "tool" {
        message["content"] = text(&message).into();
        if let Some(message) = message.as_object_mut() {
            message.remove("name");
        }
    }
    message
}

/// Adds an event of a stream; returns whether it was the last.
fn add(gathered: &mut ReplyBuilder<'_>, endpoint: &Endpoint, data: &str) -> Result<bool, LlmError> {
    if data == "[DONE]" {
        return Ok(true);
    }
    let event = endpoint.piece(data)?;
    let delta = &event["delta"]["message"];
    match event["type"].as_str().unwrap_or_default() {
        "content-start" | "content-delta" => {
            gathered.text(delta["content"]["text"].as_str().unwrap_or_default());
            gathered.thought(delta["content"]["thinking"].as_str().unwrap_or_default());
        }
        "tool-plan-delta" => gathered.thought(delta["tool_plan"].as_str().unwrap_or_default()),
        "tool-call-start" => add_call(gathered, &delta["tool_calls"], true),
        "tool-call-delta" => add_call(gathered, &delta["tool_calls"], false),
        "message-end" => {
            if event["delta"]["error"].is_string() {
                return Err(endpoint.broke_off(event["delta"]["error"].as_str().unwrap_or_default()));
            }
            end(gathered, endpoint, &event["delta"])?;
            return Ok(true);
        }
        _ => {}
    }
    Ok(false)
}

fn add_call(gathered: &mut ReplyBuilder<'_>, call: &Value, is_new: bool) {
    let index = if is_new { gathered.calls() } else { gathered.calls().saturating_sub(1) };
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let function = &call["function"];
    gathered.call(index, &text(&call["id"]), &text(&function["name"]), &text(&function["arguments"]));
}

fn end(gathered: &mut ReplyBuilder<'_>, endpoint: &Endpoint, end: &Value) -> Result<(), LlmError> {
    let word = match end["finish_reason"].as_str().unwrap_or_default() {
        "MAX_TOKENS" => "length",
        "TOOL_CALL" => "tool_calls",
        "ERROR_TOXIC" => "content_filter",
        "ERROR" | "ERROR_LIMIT" | "TIMEOUT" => {
            return Err(endpoint.broke_off("the answer ended with an error"));
        }
        _ => "stop",
    };
    gathered.finish_reason = Some(word.to_owned());
    let usage = &end["usage"];
    let counts = if usage["tokens"].is_object() { &usage["tokens"] } else { &usage["billed_units"] };
    // Counts may be floats.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are integers and not negative"
    )]
    let count =
        |value: &Value| tokens(&Value::from(value.as_f64().unwrap_or(0.0).max(0.0) as u64)).unwrap_or(0);
    gathered.usage = ModelUsage {
        input_tokens: count(&counts["input_tokens"]),
        output_tokens: count(&counts["output_tokens"]),
        cached_tokens: count(&usage["cached_tokens"]),
        ..ModelUsage::default()
    };
    Ok(())
}
