//! Anthropic's Messages API.

use super::{
    Endpoint, LlmError, Pieces, Reply, Request,
    call::tokens,
    claude,
    content::{Part, arguments, parts, schema, text},
    reply_builder::ReplyBuilder,
    sse,
};
use crate::egress::Http;
use reqwest::Response;
use runyard_runs::{CacheWrites, ModelUsage};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

const VERSION: &str = "2023-06-01";
/// The `anthropic-beta` header of requests with a schema for the answer.
const SCHEMA_BETA: &str = "structured-outputs-2025-11-13";
/// The tool through which a model answers in JSON if it does not accept a schema.
const ANSWER_TOOL: &str = "answer";

/// Makes one call.
pub(super) async fn ask(
    endpoint: &Endpoint,
    http: &Http,
    request: &Request,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    let Body { body, answer_tool } = body(endpoint, request);
    let has_schema = body.contains_key("output_format");
    let response = endpoint
        .post(http, &endpoint.url, |post| {
            let post = post.header("anthropic-version", VERSION).json(&body);
            if has_schema { post.header("anthropic-beta", SCHEMA_BETA) } else { post }
        })
        .await?;
    read(endpoint, request.stream, answer_tool, response, piece).await
}

/// Reads an answer.
pub(super) async fn read(
    endpoint: &Endpoint,
    stream: bool,
    answer_tool: Option<&'static str>,
    response: Response,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    let mut gathered = ReplyBuilder::new(piece).answered_by(answer_tool);
    if stream {
        let mut blocks = HashMap::new();
        sse::each(endpoint, response, |data| add(&mut gathered, &mut blocks, endpoint, data)).await?;
    } else {
        let answer = endpoint.json(response).await?;
        for block in answer["content"].as_array().into_iter().flatten() {
            whole(&mut gathered, block);
        }
        gathered.finish_reason = reason(&answer["stop_reason"]);
        count(&mut gathered.usage, &answer["usage"]);
    }
    gathered.finish(endpoint)
}

struct Body {
    body: Map<String, Value>,
    answer_tool: Option<&'static str>,
}

fn body(endpoint: &Endpoint, request: &Request) -> Body {
    let mut parameters = request.parameters.clone();
    let (system, messages) = conversation(&request.messages);
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.clone().into());
    body.insert("messages".into(), messages.into());
    if !system.is_empty() {
        body.insert("system".into(), system.into());
    }
    let max_tokens = parameters.remove("max_completion_tokens").or_else(|| parameters.remove("max_tokens"));
    body.insert(
        "max_tokens".into(),
        max_tokens.unwrap_or_else(|| claude::longest_answer(&endpoint.model).into()),
    );
    for unknown in ["seed", "presence_penalty", "frequency_penalty", "strict_tools"] {
        parameters.remove(unknown);
    }
    if claude::refuses_sampling(&endpoint.model) {
        for refused in ["temperature", "top_p", "top_k"] {
            parameters.remove(refused);
        }
    }
    if let Some(stop) = parameters.remove("stop") {
        body.insert("stop_sequences".into(), if stop.is_array() { stop } else { json!([stop]) });
    }
    let tools = parameters.remove("tools");
    let mut tools: Vec<Value> =
        tools.as_ref().and_then(Value::as_array).into_iter().flatten().map(tool).collect();
    let parallel = parameters.remove("parallel_tool_calls");
    let mut choice = parameters.remove("tool_choice").as_ref().and_then(tool_choice);
    let format = parameters.remove("response_format");
    let mut answer_tool = None;
    if format
        .as_ref()
        .is_some_and(|format| format["type"] == "json_schema" || format["type"] == "json_object")
    {
        let schema = schema(format.as_ref());
        match schema {
            Some(schema) if claude::takes_schema(&endpoint.model) => {
                body.insert("output_format".into(), json!({"type": "json_schema", "schema": schema}));
            }
            schema => {
                choice = Some(if tools.is_empty() {
                    json!({"type": "tool", "name": ANSWER_TOOL})
                } else {
                    json!({"type": "any"})
                });
                tools.push(json!({
                    "name": ANSWER_TOOL,
                    "description": "Gives the answer.",
                    "input_schema": schema.unwrap_or_else(|| json!({"type": "object"})),
                }));
                answer_tool = Some(ANSWER_TOOL);
            }
        }
    }
    if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
        if parallel == Some(Value::Bool(false)) {
            let choice = choice.get_or_insert_with(|| json!({"type": "auto"}));
            choice["disable_parallel_tool_use"] = true.into();
        }
        if let Some(choice) = choice {
            body.insert("tool_choice".into(), choice);
        }
    }
    let cache = parameters.remove("cache_control").filter(Value::is_object);
    body.extend(parameters);
    if let Some(cache) = cache {
        mark_cached(&mut body, &cache);
    }
    if request.stream {
        body.insert("stream".into(), true.into());
    }
    Body { body, answer_tool }
}

/// The system texts, and all other messages as alternating turns.
fn conversation(messages: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let (mut system, mut turns) = (Vec::new(), Vec::<Value>::new());
    for message in messages {
        let (role, blocks) = match message["role"].as_str() {
            Some("system" | "developer") => {
                let text = text(message);
                if !text.is_empty() {
                    system.push(json!({"type": "text", "text": text}));
                }
                continue;
            }
            Some("assistant") => ("assistant", assistant(message)),
            Some("tool" | "function") => {
                let result = json!({
                    "type": "tool_result",
                    "tool_use_id": message["tool_call_id"],
                    "content": blocks(message),
                });
                ("user", vec![result])
            }
            _ => ("user", blocks(message)),
        };
        if blocks.is_empty() {
            continue;
        }
        match turns.last_mut().filter(|last| last["role"] == role) {
            Some(last) => {
                if let Some(content) = last["content"].as_array_mut() {
                    content.extend(blocks);
                }
            }
            None => turns.push(json!({"role": role, "content": blocks})),
        }
    }
    trim_end(&mut turns);
    (system, turns)
}

/// The API refuses white space at the end of an answer that the model must continue.
fn trim_end(turns: &mut [Value]) {
    let Some(last) = turns.last_mut().filter(|last| last["role"] == "assistant") else { return };
    if let Some(block) = last["content"].as_array_mut().and_then(|content| content.last_mut())
        && let Some(text) = block["text"].as_str()
    {
        block["text"] = text.trim_end().into();
    }
}

fn assistant(message: &Value) -> Vec<Value> {
    let mut blocks = blocks(message);
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        blocks.push(json!({
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": arguments(call),
        }));
    }
    blocks
}

fn blocks(message: &Value) -> Vec<Value> {
    let block = |part| match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Data(mime, data) if mime.starts_with("image/") => {
            json!({"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}})
        }
        Part::Data(mime, data) => {
            json!({"type": "document", "source": {"type": "base64", "media_type": mime, "data": data}})
        }
        Part::Url(url) if has_ending(url, "pdf") => {
            json!({"type": "document", "source": {"type": "url", "url": url}})
        }
        Part::Url(url) if url.starts_with("http") => {
            json!({"type": "image", "source": {"type": "url", "url": url}})
        }
        Part::Url(id) => json!({"type": "document", "source": {"type": "file", "file_id": id}}),
    };
    parts(message).into_iter().map(block).collect()
}

fn has_ending(url: &str, ending: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit_once('.').is_some_and(|(_, found)| found.eq_ignore_ascii_case(ending))
}

fn tool(tool: &Value) -> Value {
    let function = &tool["function"];
    if !function.is_object() {
        return tool.clone();
    }
    let parameters = &function["parameters"];
    let schema = if parameters.is_object() { parameters.clone() } else { json!({"type": "object"}) };
    let mut converted = json!({"name": function["name"], "input_schema": schema, "type": "custom"});
    for key in ["description", "strict"] {
        if let Some(value) = function.get(key).filter(|value| !value.is_null()) {
            converted[key] = value.clone();
        }
    }
    converted
}

fn tool_choice(choice: &Value) -> Option<Value> {
    match choice.as_str() {
        Some("auto") => Some(json!({"type": "auto"})),
        Some("required" | "any") => Some(json!({"type": "any"})),
        Some("none") => Some(json!({"type": "none"})),
        _ => choice["function"]["name"].as_str().map(|name| json!({"type": "tool", "name": name})),
    }
}

/// Marks where cached prefixes end: after the system texts, and after the message that the node selects.
fn mark_cached(body: &mut Map<String, Value>, cache: &Value) {
    let ttl = cache.get("ttl").map_or_else(|| "5m".into(), Clone::clone);
    let mut control = json!({"type": "ephemeral"});
    if !ttl.is_null() {
        control["ttl"] = ttl;
    }
    let mark = |block: Option<&mut Value>| {
        if let Some(block) = block {
            block["cache_control"] = control.clone();
        }
    };
    if cache["cache_system"] != false {
        mark(body.get_mut("system").and_then(Value::as_array_mut).and_then(|system| system.last_mut()));
    }
    let index = cache["cache_injection_point_index"].as_i64().unwrap_or(-1);
    let Some(turns) = body.get_mut("messages").and_then(Value::as_array_mut) else { return };
    let position = match usize::try_from(index) {
        Ok(position) => Some(position),
        Err(_) => usize::try_from(index.unsigned_abs()).ok().and_then(|back| turns.len().checked_sub(back)),
    };
    let turn = position.and_then(|position| turns.get_mut(position));
    mark(turn.and_then(|turn| turn["content"].as_array_mut()).and_then(|content| content.last_mut()));
}

fn whole(gathered: &mut ReplyBuilder<'_>, block: &Value) {
    let text = |key: &str| block[key].as_str().unwrap_or_default();
    match text("type") {
        "text" => gathered.text(text("text")),
        "thinking" => gathered.thought(text("thinking")),
        "tool_use" => {
            gathered.call(gathered.calls(), text("id"), text("name"), &block["input"].to_string());
        }
        _ => {}
    }
}

/// Adds an event of a stream; returns whether it was the last. `blocks` maps the index of a block to that of its tool
/// call.
fn add(
    gathered: &mut ReplyBuilder<'_>,
    blocks: &mut HashMap<u64, usize>,
    endpoint: &Endpoint,
    data: &str,
) -> Result<bool, LlmError> {
    let event = endpoint.piece(data)?;
    let index = event["index"].as_u64().unwrap_or(0);
    match event["type"].as_str().unwrap_or_default() {
        "message_start" => count(&mut gathered.usage, &event["message"]["usage"]),
        "content_block_start" => {
            let block = &event["content_block"];
            match block["type"].as_str() {
                Some("tool_use") => {
                    let call_index = gathered.calls();
                    blocks.entry(index).or_insert(call_index);
                    let text = |key: &str| block[key].as_str().unwrap_or_default();
                    gathered.call(call_index, text("id"), text("name"), "");
                }
                Some("text") => gathered.text(block["text"].as_str().unwrap_or_default()),
                _ => {}
            }
        }
        "content_block_delta" => {
            let delta = &event["delta"];
            let text = |key: &str| delta[key].as_str().unwrap_or_default();
            match text("type") {
                "text_delta" => gathered.text(text("text")),
                "thinking_delta" => gathered.thought(text("thinking")),
                "input_json_delta" => {
                    if let Some(call_index) = blocks.get(&index) {
                        gathered.call(*call_index, "", "", text("partial_json"));
                    }
                }
                _ => {}
            }
        }
        "message_delta" => {
            if let Some(reason) = reason(&event["delta"]["stop_reason"]) {
                gathered.finish_reason = Some(reason);
            }
            count(&mut gathered.usage, &event["usage"]);
        }
        "message_stop" => return Ok(true),
        "error" => return Err(endpoint.broke_off(data)),
        _ => {}
    }
    Ok(false)
}

fn reason(reason: &Value) -> Option<String> {
    let word = match reason.as_str()? {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    };
    Some(word.to_owned())
}

/// Later counts include the earlier ones. The API's `input_tokens` do not include cached tokens.
fn count(known: &mut ModelUsage, usage: &Value) {
    let number = |key: &str| tokens(&usage[key]);
    if let Some(input) = number("input_tokens") {
        let written = number("cache_creation_input_tokens").unwrap_or(0);
        let long = tokens(&usage["cache_creation"]["ephemeral_1h_input_tokens"]).unwrap_or(0).min(written);
        known.cached_tokens = number("cache_read_input_tokens").unwrap_or(0);
        known.cache_writes = CacheWrites { short: written - long, long };
        known.input_tokens = input + known.cached_tokens + written;
    }
    if let Some(output) = number("output_tokens") {
        known.output_tokens = output;
    }
}
