//! Google's Gemini API, in the versions of AI Studio and Vertex AI.

use super::{
    Endpoint, LlmError, Pieces, Reply, Request,
    call::tokens,
    content::{self, Part, arguments, parts, schema, text},
    google::Account,
    reply_builder::ReplyBuilder,
    sse,
};
use crate::egress::Http;
use reqwest::Response;
use runyard_runs::ModelUsage;
use serde_json::{Map, Value, json};

/// Separates a tool call's id from the thought signature of the call, which the model requires in later requests. It is
/// part of the id because the id is the only part of a call that every node keeps.
const SIGNATURE: &str = "__thought__";

/// Makes one call. With an `account`, it is authorized by its token.
pub(super) async fn ask(
    endpoint: &Endpoint,
    account: Option<&Account>,
    http: &Http,
    request: &Request,
    piece: &Pieces<'_>,
) -> Result<Reply, LlmError> {
    let mut messages = request.messages.clone();
    content::fetch(http, &mut messages).await?;
    let body = body(&messages, request);
    let token = match account {
        Some(account) => Some(account.token(endpoint, http).await?),
        None => None,
    };
    let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let url = format!("{}/models/{}:{method}", endpoint.url, endpoint.model);
    let response = endpoint
        .post(http, &url, |post| {
            let post = post.json(&body);
            match token {
                Some(token) => post.bearer_auth(token),
                None => post,
            }
        })
        .await?;
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
        sse::each(endpoint, response, |data| {
            let chunk = endpoint.piece(data)?;
            if chunk["error"].is_object() {
                return Err(endpoint.broke_off(data));
            }
            add(&mut gathered, &chunk);
            Ok(false)
        })
        .await?;
    } else {
        add(&mut gathered, &endpoint.json(response).await?);
    }
    gathered.finish(endpoint)
}

fn body(messages: &[Value], request: &Request) -> Value {
    let mut parameters = request.parameters.clone();
    let (system, contents) = conversation(messages);
    let mut body = Map::new();
    body.insert("contents".into(), contents.into());
    if !system.is_empty() {
        body.insert("system_instruction".into(), json!({"parts": system}));
    }
    if let Some(Value::Array(tools)) = parameters.remove("tools") {
        let declarations: Vec<Value> = tools.iter().map(declaration).collect();
        body.insert("tools".into(), json!([{"function_declarations": declarations}]));
    }
    if let Some(config) = parameters.remove("tool_choice").as_ref().and_then(tool_config) {
        body.insert("toolConfig".into(), json!({"functionCallingConfig": config}));
    }
    for unknown in ["parallel_tool_calls", "cache_control", "strict_tools"] {
        parameters.remove(unknown);
    }
    let mut config = Map::new();
    for (name, known) in [
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("top_k", "top_k"),
        ("max_completion_tokens", "max_output_tokens"),
        ("max_tokens", "max_output_tokens"),
        ("stop", "stop_sequences"),
        ("seed", "seed"),
        ("presence_penalty", "presence_penalty"),
        ("frequency_penalty", "frequency_penalty"),
    ] {
        if let Some(value) = parameters.remove(name) {
            let value = if name == "stop" && !value.is_array() { json!([value]) } else { value };
            config.insert(known.into(), value);
        }
    }
    if let Some(thinking) = parameters.remove("thinking").filter(|thinking| thinking["type"] == "enabled") {
        let thinking = json!({"thinkingBudget": thinking["budget_tokens"], "includeThoughts": true});
        config.insert("thinkingConfig".into(), thinking);
    }
    let format = parameters.remove("response_format");
    if format
        .as_ref()
        .is_some_and(|format| format["type"] == "json_schema" || format["type"] == "json_object")
    {
        config.insert("response_mime_type".into(), "application/json".into());
        if let Some(schema) = schema(format.as_ref()) {
            config.insert("response_json_schema".into(), schema);
        }
    }
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    body.extend(parameters);
    Value::Object(body)
}

/// The system texts, and all other messages as alternating turns.
fn conversation(messages: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let (mut system, mut turns) = (Vec::new(), Vec::<Value>::new());
    for message in messages {
        let (role, parts) = match message["role"].as_str() {
            Some("system" | "developer") => {
                let text = text(message);
                if !text.is_empty() {
                    system.push(json!({"text": text}));
                }
                continue;
            }
            Some("assistant") => ("model", model(message)),
            Some("tool" | "function") => ("user", vec![result(message, messages)]),
            _ => ("user", content_parts(message)),
        };
        if parts.is_empty() {
            continue;
        }
        match turns.last_mut().filter(|last| last["role"] == role) {
            Some(last) => {
                if let Some(known) = last["parts"].as_array_mut() {
                    known.extend(parts);
                }
            }
            None => turns.push(json!({"role": role, "parts": parts})),
        }
    }
    // The API requires at least one turn with text.
    if turns.is_empty() {
        turns.push(json!({"role": "user", "parts": [{"text": " "}]}));
    }
    (system, turns)
}

fn content_parts(message: &Value) -> Vec<Value> {
    let convert = |part| match part {
        Part::Text(text) => json!({"text": text}),
        Part::Data(mime, data) => json!({"inline_data": {"mime_type": mime, "data": data}}),
        Part::Url(uri) => json!({"file_data": {"file_uri": uri}}),
    };
    parts(message).into_iter().map(convert).collect()
}

fn model(message: &Value) -> Vec<Value> {
    let mut parts = content_parts(message);
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let converted = json!({"name": call["function"]["name"], "args": arguments(call)});
        let mut part = json!({"functionCall": converted});
        if let Some((_, signature)) = call["id"].as_str().and_then(|id| id.split_once(SIGNATURE)) {
            part["thoughtSignature"] = signature.into();
        }
        parts.push(part);
    }
    parts
}

/// The result of a tool. The API identifies it by the tool's name, which is taken from the call with the same id.
fn result(message: &Value, messages: &[Value]) -> Value {
    let id = &message["tool_call_id"];
    let calls = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten();
    let name =
        calls.filter(|call| call["id"] == *id).map(|call| call["function"]["name"].clone()).next_back();
    let name = name.unwrap_or_else(|| message["name"].clone());
    json!({"functionResponse": {"name": name, "response": {"content": text(message)}}})
}

fn declaration(tool: &Value) -> Value {
    let function = &tool["function"];
    let mut declaration = json!({"name": function["name"]});
    if let Some(description) = function.get("description").filter(|description| description.is_string()) {
        declaration["description"] = description.clone();
    }
    let parameters = &function["parameters"];
    // The API refuses a schema without properties.
    if parameters["properties"].as_object().is_some_and(|properties| !properties.is_empty()) {
        declaration["parametersJsonSchema"] = parameters.clone();
    }
    declaration
}

fn tool_config(choice: &Value) -> Option<Value> {
    match choice.as_str() {
        Some("auto") => Some(json!({"mode": "AUTO"})),
        Some("required" | "any") => Some(json!({"mode": "ANY"})),
        Some("none") => Some(json!({"mode": "NONE"})),
        _ => {
            let name = choice["function"]["name"].as_str()?;
            Some(json!({"mode": "ANY", "allowed_function_names": [name]}))
        }
    }
}

fn add(gathered: &mut ReplyBuilder<'_>, chunk: &Value) {
    let candidate = &chunk["candidates"][0];
    for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
        let call = &part["functionCall"];
        if call.is_object() {
            let index = gathered.calls();
            let mut id = call["id"].as_str().map_or_else(|| format!("call_{index}"), str::to_owned);
            if let Some(signature) = part["thoughtSignature"].as_str() {
                id = format!("{id}{SIGNATURE}{signature}");
            }
            let arguments = if call["args"].is_object() { call["args"].to_string() } else { "{}".to_owned() };
            gathered.call(index, &id, call["name"].as_str().unwrap_or_default(), &arguments);
        } else if let Some(text) = part["text"].as_str() {
            if part["thought"] == true { gathered.thought(text) } else { gathered.text(text) }
        }
    }
    let reason = candidate["finishReason"].as_str().or_else(|| {
        // The response to a blocked prompt has no candidate.
        chunk["promptFeedback"]["blockReason"].as_str().map(|_| "SAFETY")
    });
    if let Some(reason) = reason {
        gathered.finish_reason = Some(self::reason(reason, gathered.calls() > 0).to_owned());
    }
    let usage = &chunk["usageMetadata"];
    if usage.is_object() {
        gathered.usage = self::usage(usage);
    }
}

fn reason(reason: &str, has_calls: bool) -> &'static str {
    match reason {
        "STOP" if has_calls => "tool_calls",
        "MAX_TOKENS" => "length",
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => {
            "content_filter"
        }
        _ => "stop",
    }
}

/// Thinking tokens are charged as output.
fn usage(usage: &Value) -> ModelUsage {
    let count = |key: &str| tokens(&usage[key]).unwrap_or(0);
    ModelUsage {
        input_tokens: count("promptTokenCount") + count("toolUsePromptTokenCount"),
        output_tokens: count("candidatesTokenCount") + count("thoughtsTokenCount"),
        cached_tokens: count("cachedContentTokenCount"),
        ..ModelUsage::default()
    }
}
