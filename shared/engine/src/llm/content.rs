//! The content of messages: texts, images and files, in the format of the chat completions API.

use super::LlmError;
use crate::egress::{Http, explain};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// A part of a message.
#[derive(Debug, PartialEq)]
pub(super) enum Part<'m> {
    Text(&'m str),
    /// Media type and Base64 content of a `data:` URL.
    Data(&'m str, &'m str),
    /// URL or id of a file; an image, unless the URL shows another type.
    Url(&'m str),
}

/// The parts of a message.
pub(super) fn parts(message: &Value) -> Vec<Part<'_>> {
    match &message["content"] {
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![Part::Text(text)],
        Value::Array(parts) => parts.iter().filter_map(part).collect(),
        _ => Vec::new(),
    }
}

fn part(part: &Value) -> Option<Part<'_>> {
    match part["type"].as_str()? {
        "text" => part["text"].as_str().filter(|text| !text.is_empty()).map(Part::Text),
        "image_url" => part["image_url"]["url"].as_str().or_else(|| part["image_url"].as_str()).map(media),
        "file" => part["file"]["file_data"].as_str().map(media),
        _ => None,
    }
}

fn media(url: &str) -> Part<'_> {
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    match data.and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data))) {
        Some((mime, data)) => Part::Data(mime.split(';').next().unwrap_or(mime), data),
        None => Part::Url(url),
    }
}

/// All text parts of a message, joined.
pub(super) fn text(message: &Value) -> String {
    let texts = parts(message).into_iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    texts.collect::<Vec<_>>().concat()
}

/// Replaces the parts of a message by their text.
pub(super) fn flatten(message: &mut Value) {
    if message["content"].is_array() {
        message["content"] = text(message).into();
    }
}

/// Size of a file that is fetched for a model that accepts no URLs.
const MAX_FETCHED_BYTES: usize = 20 << 20;

/// Fetches files that messages refer to by URL, and replaces the URLs by their content.
pub(super) async fn fetch(http: &Http, messages: &mut [Value]) -> Result<(), LlmError> {
    for message in messages {
        let Some(parts) = message["content"].as_array_mut() else { continue };
        for part in parts {
            let (kind, key) =
                if part["type"] == "file" { ("file", "file_data") } else { ("image_url", "url") };
            let Some(url) = part[kind][key].as_str().filter(|url| url.starts_with("http")) else { continue };
            let fetched = fetch_one(http, url).await?;
            part[kind][key] = fetched.into();
        }
    }
    Ok(())
}

async fn fetch_one(http: &Http, url: &str) -> Result<String, LlmError> {
    let (client, url) = http.open(url).map_err(|refused| LlmError::refused(refused.to_string()))?;
    let failed =
        |reason: String| LlmError::refused(format!("a file of the prompt cannot be fetched: {reason}"));
    let mut response = http.send(client.get(url)).await.map_err(|error| failed(error.to_string()))?;
    if !response.status().is_success() {
        return Err(failed(format!("the answer is {}", response.status())));
    }
    let mime = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|mime| mime.to_str().ok());
    let mime = mime.and_then(|mime| mime.split(';').next()).unwrap_or("image/png").trim().to_owned();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| LlmError::connection(explain(&error)))? {
        if bytes.len() + chunk.len() > MAX_FETCHED_BYTES {
            return Err(LlmError::refused("a file of the prompt is larger than 20 MiB".into()));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(format!("data:{mime};base64,{}", STANDARD.encode(bytes)))
}

/// The JSON schema of the answer, if `response_format` has type `json_schema`.
pub(super) fn schema(response_format: Option<&Value>) -> Option<Value> {
    let format = response_format?;
    match format["type"].as_str() {
        Some("json_schema") => Some(format["json_schema"]["schema"].clone()).filter(Value::is_object),
        _ => None,
    }
}

/// The arguments of a tool call, as an object.
pub(super) fn arguments(call: &Value) -> Value {
    let arguments = &call["function"]["arguments"];
    let parsed = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
    parsed
        .or_else(|| Some(arguments.clone()))
        .filter(Value::is_object)
        .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}
