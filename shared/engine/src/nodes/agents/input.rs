//! An agent's input: checks it, and fills in defaults.

use super::{params::ToolParams, workspace::Workspace};
use crate::{
    flow::{Halt, NodeError},
    nodes::mapping,
    template::Template,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use runyard_runs::{FileId, RunContext};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// The fields that an agent knows; all others are variables of the user's message, if that is a template.
const KNOWN: &[&str] =
    &["input", "images", "videos", "files", "user_id", "session_id", "metadata", "tool_params"];

/// Checks the input and fills in defaults, as results show them.
pub(super) fn admit(input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
    let input = mapping(input, "an agent")?;
    let Some(given) = input.as_object() else { return Ok(input) };
    let invalid = |message: String| NodeError::new("ValidationError", message);
    let text = |key: &str, default: Value| match given.get(key) {
        None => Ok(default),
        Some(value @ Value::String(_)) => Ok(value.clone()),
        Some(Value::Null) if default.is_null() => Ok(Value::Null),
        Some(_) => Err(invalid(format!("`{key}` of an agent's input must be text"))),
    };
    let list = |key: &str| match given.get(key) {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(value @ Value::Array(_)) => Ok(value.clone()),
        Some(_) => Err(invalid(format!("`{key}` of an agent's input must be a list"))),
    };
    let metadata = match given.get("metadata") {
        None => json!({}),
        Some(value @ Value::Object(_)) => value.clone(),
        Some(_) => return Err(invalid("`metadata` of an agent's input must be a mapping".into())),
    };
    let Some(params) = ToolParams::read(given.get("tool_params").unwrap_or(&Value::Null)) else {
        let message = "`tool_params` must have mappings under `global`, `by_name` and `by_id`";
        return Err(invalid(message.into()));
    };
    let mut admitted = json!({
        "input": text("input", "".into())?,
        "images": list("images")?,
        "videos": list("videos")?,
        "files": list("files")?,
        "user_id": text("user_id", Value::Null)?,
        "session_id": text("session_id", Value::Null)?,
        "metadata": metadata,
        "tool_params": params.shown(),
    });
    for (key, value) in given {
        if !KNOWN.contains(&key.as_str()) {
            admitted[key] = value.clone();
        }
    }
    Ok(Arc::new(admitted))
}

/// The text of the user's message. It is rendered as a template if the input has fields other than [`KNOWN`].
pub(super) async fn message(
    run: &RunContext,
    template: Option<&str>,
    input: &Map<String, Value>,
) -> Result<String, NodeError> {
    match written(template, input)? {
        UserMessage::Text(text) => Ok(text),
        UserMessage::Template(template, own) => template.render(run, &own).await,
    }
}

/// The user's message before rendering.
enum UserMessage {
    Text(String),
    /// A template and its variables.
    Template(Arc<Template>, Map<String, Value>),
}

fn written(template: Option<&str>, input: &Map<String, Value>) -> Result<UserMessage, NodeError> {
    let text = template.or_else(|| input.get("input").and_then(Value::as_str)).unwrap_or_default();
    let own: Map<String, Value> = input
        .iter()
        .filter(|(key, _)| !KNOWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if own.is_empty() || !text.contains('{') {
        return Ok(UserMessage::Text(text.to_owned()));
    }
    let template = Template::new(text).map_err(|error| NodeError::new("TemplateSyntaxError", error))?;
    Ok(UserMessage::Template(Arc::new(template), own))
}

/// Copies the files of the input to `desk`, and returns the user's message: text, file names and images.
pub(super) async fn with_files(
    run: &RunContext,
    desk: &mut Workspace,
    text: String,
    input: &Map<String, Value>,
) -> Result<Value, Halt> {
    let list = |key: &str| input.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (mut named, mut images) = (Vec::new(), Vec::new());
    for image in list("images") {
        match image.as_str() {
            Some(url)
                if url.starts_with("http://") || url.starts_with("https://") || url.starts_with("data:") =>
            {
                images.push(url.to_owned());
            }
            _ => attach(run, desk, image, &mut named, &mut images).await?,
        }
    }
    for file in list("files").iter().chain(list("videos")) {
        attach(run, desk, file, &mut named, &mut images).await?;
    }
    let mut text = text;
    if !named.is_empty() {
        let lines: Vec<String> =
            named.iter().map(|(name, path)| format!("- {name} (saved as: {path})")).collect();
        text = format!("{}\nAttached files available to you:\n{}\n", text.trim_end(), lines.join("\n"));
    }
    if images.is_empty() {
        return Ok(text.into());
    }
    let mut parts = Vec::new();
    if !text.is_empty() {
        parts.push(json!({"type": "text", "text": text}));
    }
    parts.extend(images.into_iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}})));
    Ok(parts.into())
}

/// Copies a file: one of the run's, by id or name, or one from another agent, as `{name, content}`.
async fn attach(
    run: &RunContext,
    desk: &mut Workspace,
    file: &Value,
    named: &mut Vec<(String, String)>,
    images: &mut Vec<String>,
) -> Result<(), Halt> {
    if let (Some(name), Some(content)) = (file["name"].as_str(), file["content"].as_str()) {
        let mime_type = file["mime_type"].as_str().unwrap_or("text/plain");
        desk.put(name, super::AgentFile { content: content.into(), mime_type: mime_type.to_owned() })?;
        named.push((name.to_owned(), name.to_owned()));
        return Ok(());
    }
    let wanted = file.as_str().or_else(|| file["id"].as_str()).unwrap_or_default();
    let known =
        run.new_run().files.iter().find(|known| {
            Uuid::parse_str(wanted).is_ok_and(|id| known.id == FileId(id)) || known.name == wanted
        });
    let found = match known {
        Some(known) => desk.fetch(run, known.id).await?.map(|path| (known, path)),
        None => None,
    };
    let Some((known, path)) = found else {
        let message = format!("the run has no file `{wanted}`");
        return Err(NodeError::new("FileNotFoundError", message).lasting().into());
    };
    if known.mime_type.starts_with("image/")
        && let Some(file) = desk.get(&path)
    {
        images.push(format!("data:{};base64,{}", known.mime_type, BASE64_STANDARD.encode(&file.content)));
    } else {
        named.push((known.name.clone(), path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute;

    #[test]
    fn fills_in_defaults() {
        let admitted = admit(Arc::new(json!({"input": "hi", "topic": "cats"}))).expect("it is valid");
        let expected = json!({
            "input": "hi", "images": null, "videos": null, "files": null, "user_id": null, "session_id": null,
            "metadata": {}, "topic": "cats",
            "tool_params": {"global_params": {}, "by_name_params": {}, "by_id_params": {}},
        });
        assert_eq!(*admitted, expected);
        for wrong in [
            json!({"input": 1}),
            json!({"files": "x"}),
            json!({"metadata": null}),
            json!({"tool_params": []}),
        ] {
            assert!(admit(Arc::new(wrong)).is_err());
        }
    }

    #[test]
    fn renders_messages() {
        let render = |input: Value| match written(None, input.as_object().expect("a mapping"))? {
            UserMessage::Text(text) => Ok(text),
            UserMessage::Template(template, own) => compute::whole("it", || template.render_here(&own)),
        };
        assert_eq!(render(json!({"input": "on {{ topic }}", "topic": "cats"})), Ok("on cats".into()));
        assert_eq!(render(json!({"input": "on {{ topic }}"})), Ok("on {{ topic }}".into()));
    }
}
