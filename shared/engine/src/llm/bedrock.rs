//! Amazon Bedrock's Converse API, with and without streaming.
//!
//! Signatures have no AWS types: the AWS crates only compute the signing key and decode the frames of a stream.

use super::{
    Endpoint, LlmError, Pieces, Reply, Request,
    aws::{Keys, path_segment},
    call::{error_text, tokens},
    claude,
    content::{self, Part, arguments, parts, schema, text},
    reply_builder::ReplyBuilder,
    sse::MAX_STREAM_BYTES,
};
use crate::egress::{Http, explain};
use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use bytes::{Buf, BytesMut};
use reqwest::Response;
use runyard_runs::{CacheWrites, ModelUsage};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The tool through which a model answers in JSON: the API only accepts schemas of tools.
const ANSWER_TOOL: &str = "answer";

/// Size of a frame of a stream.
const MAX_FRAME_BYTES: usize = 16 << 20;

/// Makes one call.
pub(super) async fn ask(
    endpoint: &Endpoint,
    keys: &Keys,
    http: &Http,
    request: &Request,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    let mut messages = request.messages.clone();
    content::fetch(http, &mut messages).await?;
    let (body, answer_tool) = body(endpoint, &messages, request);
    let body = Value::Object(body).to_string();
    let method = if request.stream { "converse-stream" } else { "converse" };
    let path = format!("/model/{}/{method}", path_segment(&endpoint.model));
    let url = format!("{}{path}", endpoint.url);
    let signed = keys.sign(&endpoint.url, &path, &body);
    let response = endpoint
        .post(http, &url, |post| {
            signed
                .into_iter()
                .fold(post.header("content-type", "application/json"), |post, (name, value)| {
                    post.header(name, value)
                })
                .body(body)
        })
        .await?;
    read(endpoint, request.stream, answer_tool, response, piece).await
}

/// Reads an answer.
pub(super) async fn read(
    endpoint: &Endpoint,
    is_stream: bool,
    answer_tool: Option<&'static str>,
    response: Response,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    let mut gathered = ReplyBuilder::new(piece).answered_by(answer_tool);
    if is_stream {
        stream(&mut gathered, endpoint, response).await?;
    } else {
        let answer = endpoint.json(response).await?;
        for block in answer["output"]["message"]["content"].as_array().into_iter().flatten() {
            whole(&mut gathered, block);
        }
        gathered.finish_reason = reason(&answer["stopReason"]);
        gathered.usage = usage(&answer["usage"]);
    }
    // Amazon's own models do not charge for cache writes.
    if !endpoint.model.contains("anthropic.") {
        gathered.usage.cache_writes = CacheWrites::default();
    }
    gathered.finish(endpoint)
}

fn body(
    endpoint: &Endpoint,
    messages: &[Value],
    request: &Request,
) -> (Map<String, Value>, Option<&'static str>) {
    let mut parameters = request.parameters.clone();
    let (mut system, mut turns) = conversation(messages);
    if let Some(cache) = parameters.remove("cache_control").filter(Value::is_object) {
        mark_cached(&mut system, &mut turns, &cache);
    }
    let mut body = Map::new();
    body.insert("messages".into(), turns.into());
    if !system.is_empty() {
        body.insert("system".into(), system.into());
    }
    for unknown in
        ["seed", "presence_penalty", "frequency_penalty", "parallel_tool_calls", "strict_tools", "user"]
    {
        parameters.remove(unknown);
    }
    if claude::refuses_sampling(&endpoint.model) {
        for refused in ["temperature", "top_p", "top_k"] {
            parameters.remove(refused);
        }
    }
    let mut config = Map::new();
    for (name, known) in [
        ("max_completion_tokens", "maxTokens"),
        ("max_tokens", "maxTokens"),
        ("temperature", "temperature"),
        ("top_p", "topP"),
        ("stop", "stopSequences"),
    ] {
        if let Some(value) = parameters.remove(name) {
            let value = if name == "stop" && !value.is_array() { json!([value]) } else { value };
            config.insert(known.into(), value);
        }
    }
    if !config.is_empty() {
        body.insert("inferenceConfig".into(), config.into());
    }
    let tools = parameters.remove("tools");
    let mut tools: Vec<Value> =
        tools.as_ref().and_then(Value::as_array).into_iter().flatten().map(tool).collect();
    let mut choice = parameters.remove("tool_choice").as_ref().and_then(tool_choice);
    let format = parameters.remove("response_format");
    let mut answer_tool = None;
    if format
        .as_ref()
        .is_some_and(|format| format["type"] == "json_schema" || format["type"] == "json_object")
    {
        choice =
            Some(if tools.is_empty() { json!({"tool": {"name": ANSWER_TOOL}}) } else { json!({"any": {}}) });
        let schema = schema(format.as_ref()).unwrap_or_else(|| json!({"type": "object"}));
        tools.push(json!({"toolSpec": {
            "name": ANSWER_TOOL,
            "description": "Gives the answer.",
            "inputSchema": {"json": schema},
        }}));
        answer_tool = Some(ANSWER_TOOL);
    }
    if !tools.is_empty() {
        let mut config = json!({"tools": tools});
        if let Some(choice) = choice {
            config["toolChoice"] = choice;
        }
        body.insert("toolConfig".into(), config);
    }
    for own in ["guardrailConfig", "performanceConfig", "requestMetadata"] {
        if let Some(value) = parameters.remove(own) {
            body.insert(own.into(), value);
        }
    }
    if !parameters.is_empty() {
        body.insert("additionalModelRequestFields".into(), parameters.into());
    }
    (body, answer_tool)
}

/// The system texts, and all other messages as alternating turns.
fn conversation(messages: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let (mut system, mut turns) = (Vec::new(), Vec::<Value>::new());
    let mut documents = 0;
    for message in messages {
        let (role, blocks) = match message["role"].as_str() {
            Some("system" | "developer") => {
                let text = text(message);
                if !text.is_empty() {
                    system.push(json!({"text": text}));
                }
                continue;
            }
            Some("assistant") => ("assistant", assistant(message, &mut documents)),
            Some("tool" | "function") => {
                let result = json!({
                    "toolUseId": message["tool_call_id"],
                    "content": [{"text": text(message)}],
                });
                ("user", vec![json!({"toolResult": result})])
            }
            _ => ("user", blocks(message, &mut documents)),
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
    (system, turns)
}

fn assistant(message: &Value, documents: &mut u32) -> Vec<Value> {
    let mut blocks = blocks(message, documents);
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        blocks.push(json!({"toolUse": {
            "toolUseId": call["id"],
            "name": call["function"]["name"],
            "input": arguments(call),
        }}));
    }
    blocks
}

/// Converts a message to blocks. Documents need unique names, so they are numbered.
fn blocks(message: &Value, documents: &mut u32) -> Vec<Value> {
    let block = |part| match part {
        Part::Text(text) => json!({"text": text}),
        Part::Data(mime, data) => {
            let (kind, format) = mime.split_once('/').unwrap_or(("image", mime));
            let source = json!({"bytes": data});
            if kind == "image" {
                return json!({"image": {"format": format, "source": source}});
            }
            if kind == "video" {
                return json!({"video": {"format": format, "source": source}});
            }
            *documents += 1;
            let name = format!("document-{documents}");
            json!({"document": {"format": document_format(format), "name": name, "source": source}})
        }
        Part::Url(uri) => json!({"image": {"format": "png", "source": {"s3Location": {"uri": uri}}}}),
    };
    parts(message).into_iter().map(block).collect()
}

/// The API's format name for a media subtype.
fn document_format(subtype: &str) -> &str {
    match subtype {
        "plain" => "txt",
        "markdown" => "md",
        "msword" => "doc",
        "vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "vnd.ms-excel" => "xls",
        "vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        other => other,
    }
}

fn tool(tool: &Value) -> Value {
    let function = &tool["function"];
    let parameters = &function["parameters"];
    let schema = if parameters.is_object() { parameters.clone() } else { json!({"type": "object"}) };
    let mut spec = json!({"name": function["name"], "inputSchema": {"json": schema}});
    if let Some(description) = function["description"].as_str().filter(|text| !text.is_empty()) {
        spec["description"] = description.into();
    }
    json!({"toolSpec": spec})
}

fn tool_choice(choice: &Value) -> Option<Value> {
    match choice.as_str() {
        Some("auto") => Some(json!({"auto": {}})),
        Some("required" | "any") => Some(json!({"any": {}})),
        Some(_) => None,
        None => choice["function"]["name"].as_str().map(|name| json!({"tool": {"name": name}})),
    }
}

/// Adds the points that end cached prefixes: after the system texts, and after the message that the node selects.
fn mark_cached(system: &mut Vec<Value>, turns: &mut [Value], cache: &Value) {
    let point = json!({"cachePoint": {"type": "default"}});
    let caches_system =
        cache.get("cache_system").or_else(|| cache.get("cache_tools")) != Some(&Value::Bool(false));
    if caches_system && !system.is_empty() {
        system.push(point.clone());
    }
    let index = cache["cache_injection_point_index"].as_i64().unwrap_or(-1);
    let position = match usize::try_from(index) {
        Ok(position) => Some(position),
        Err(_) => usize::try_from(index.unsigned_abs()).ok().and_then(|back| turns.len().checked_sub(back)),
    };
    let turn = position.and_then(|position| turns.get_mut(position));
    if let Some(content) = turn.and_then(|turn| turn["content"].as_array_mut()) {
        content.push(point);
    }
}

fn whole(gathered: &mut ReplyBuilder<'_>, block: &Value) {
    if let Some(text) = block["text"].as_str() {
        gathered.text(text);
    }
    gathered.thought(block["reasoningContent"]["reasoningText"]["text"].as_str().unwrap_or_default());
    let call = &block["toolUse"];
    if call.is_object() {
        let text = |key: &str| call[key].as_str().unwrap_or_default();
        gathered.call(gathered.calls(), text("toolUseId"), text("name"), &call["input"].to_string());
    }
}

async fn stream(
    gathered: &mut ReplyBuilder<'_>,
    endpoint: &Endpoint,
    mut response: Response,
) -> Result<(), LlmError> {
    let mut decoder = MessageFrameDecoder::new();
    let mut buffer = BytesMut::new();
    let mut left = MAX_STREAM_BYTES;
    // Maps the index of a block to that of its tool call.
    let mut blocks = HashMap::new();
    while let Some(bytes) = response.chunk().await.map_err(|error| LlmError::broken(explain(&error)))? {
        left = left.checked_sub(bytes.len()).ok_or_else(|| {
            let most = MAX_STREAM_BYTES >> 20;
            LlmError::refused(format!("the stream of {} is longer than {most} MiB", endpoint.provider))
        })?;
        buffer.extend_from_slice(&bytes);
        loop {
            let frame = decoder.decode_frame(&mut buffer).map_err(|error| {
                LlmError::broken(format!("{} sent an invalid frame: {error}", endpoint.provider))
            })?;
            let DecodedFrame::Complete(message) = frame else { break };
            let header = |name: &str| {
                let header = message.headers().iter().find(|header| header.name().as_str() == name)?;
                header.value().as_string().ok().map(|value| value.as_str().to_owned())
            };
            let payload = String::from_utf8_lossy(message.payload()).into_owned();
            if let Some(kind) = header(":exception-type").or_else(|| header(":error-code")) {
                let text = error_text(&payload);
                return Err(LlmError::broken(format!(
                    "{} reported an error during its response: {text} ({kind})",
                    endpoint.provider
                )));
            }
            add(
                gathered,
                &mut blocks,
                &header(":event-type").unwrap_or_default(),
                &endpoint.piece(&payload)?,
            );
        }
        if buffer.remaining() > MAX_FRAME_BYTES {
            return Err(LlmError::broken(format!("{} sent a frame that is too long", endpoint.provider)));
        }
    }
    Ok(())
}

fn add(gathered: &mut ReplyBuilder<'_>, blocks: &mut HashMap<u64, usize>, kind: &str, event: &Value) {
    let index = event["contentBlockIndex"].as_u64().unwrap_or(0);
    match kind {
        "contentBlockStart" => {
            let call = &event["start"]["toolUse"];
            if call.is_object() {
                let call_index = gathered.calls();
                blocks.entry(index).or_insert(call_index);
                let text = |key: &str| call[key].as_str().unwrap_or_default();
                gathered.call(call_index, text("toolUseId"), text("name"), "");
            }
        }
        "contentBlockDelta" => {
            let delta = &event["delta"];
            if let Some(text) = delta["text"].as_str() {
                gathered.text(text);
            }
            gathered.thought(delta["reasoningContent"]["text"].as_str().unwrap_or_default());
            if let Some(arguments) = delta["toolUse"]["input"].as_str()
                && let Some(call_index) = blocks.get(&index)
            {
                gathered.call(*call_index, "", "", arguments);
            }
        }
        "messageStop" => gathered.finish_reason = reason(&event["stopReason"]),
        "metadata" => gathered.usage = usage(&event["usage"]),
        _ => {}
    }
}

fn reason(reason: &Value) -> Option<String> {
    let word = match reason.as_str()? {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "guardrail_intervened" | "content_filtered" => "content_filter",
        _ => "stop",
    };
    Some(word.to_owned())
}

/// The API's `inputTokens` do not include cached tokens.
fn usage(usage: &Value) -> ModelUsage {
    let count = |key: &str| tokens(&usage[key]).unwrap_or(0);
    let (cached, written) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    ModelUsage {
        input_tokens: count("inputTokens") + cached + written,
        cache_writes: CacheWrites { short: written, long: 0 },
        output_tokens: count("outputTokens"),
        cached_tokens: cached,
        ..ModelUsage::default()
    }
}
