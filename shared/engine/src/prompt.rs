//! Prompts: messages with Jinja templates.

use crate::{
    flow::NodeError,
    load::{Fields, Loading, Yaml},
    template::Template,
};
use runyard_runs::RunContext;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// A prompt, compiled.
#[derive(Debug, Default)]
pub(crate) struct Prompt {
    messages: Vec<Message>,
    required: BTreeSet<String>,
    pub(crate) tools: Option<Value>,
    pub(crate) response_format: Option<Value>,
}

#[derive(Debug)]
struct Message {
    role: String,
    content: Content,
    /// Fields that are passed on unchanged: `tool_calls`, `tool_call_id`, `name`.
    rest: Map<String, Value>,
}

#[derive(Debug)]
enum Content {
    /// Text that is never rendered.
    Static(String),
    Text(Arc<Template>),
    Parts(Vec<Part>),
}

#[derive(Debug)]
enum Part {
    Text(Arc<Template>),
    Static(String),
    /// The URL, and the level of detail.
    Image(Arc<Template>, String),
    File(Arc<Template>, Option<Value>),
}

const ROLES: &[(&str, &str)] =
    &[("user", "user"), ("system", "system"), ("assistant", "assistant"), ("tool", "tool")];

impl Prompt {
    /// Reads a node's prompt, which is inline or the id of one in the file.
    pub(crate) fn of_node(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let given = fields.get("prompt")?;
        let Some(id) = given.text() else { return Self::read(given, "the prompt", loading) };
        let Some(yaml) = loading.prompts.get(id) else {
            let known: Vec<&str> = loading.prompts.keys().map(String::as_str).collect();
            let near = crate::load::meant(id, &known);
            fields.mistake(given.spot, format!("there is no prompt `{id}`{near}"));
            return None;
        };
        Self::read(yaml, &format!("the prompt `{id}`"), loading)
    }

    fn read(yaml: &Yaml, what: &str, loading: &Loading<'_>) -> Option<Self> {
        let fields = Fields::new(yaml, what, loading.mistakes)?;
        if fields.get("messages").is_none() {
            fields.mistake(yaml.spot, format!("{what} lacks its `messages`"));
        }
        let messages: Vec<Message> =
            fields.items("messages", "a message").into_iter().filter_map(Message::read).collect();
        let required =
            messages.iter().flat_map(Message::templates).flat_map(|template| template.required()).cloned();
        Some(Self {
            required: required.collect(),
            tools: fields.json("tools"),
            response_format: fields.json("response_format"),
            messages,
        })
    }

    /// Checks that `input` has all variables of the prompt. Like the reference, it requires even those with a
    /// `default()`.
    pub(crate) fn check(&self, input: &Map<String, Value>) -> Result<(), NodeError> {
        let missing: Vec<&str> =
            self.required.iter().map(String::as_str).filter(|name| !input.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let given: Vec<&str> = input.keys().map(String::as_str).collect();
        let message = format!("the prompt needs {}, but the input has {}", list(&missing), list(&given));
        Err(NodeError::new("ValidationError", message))
    }

    /// The messages, in the shape of the chat completions API.
    pub(crate) async fn render(
        &self,
        run: &RunContext,
        input: &Map<String, Value>,
    ) -> Result<Vec<Value>, NodeError> {
        let mut messages = Vec::with_capacity(self.messages.len());
        for message in &self.messages {
            messages.push(message.render(run, input).await?);
        }
        Ok(messages)
    }
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        _ => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

/// Compiles the field as a template.
fn template(fields: Fields<'_>, key: &str) -> Option<Arc<Template>> {
    let text = fields.text(key);
    if text.is_none() && fields.get(key).is_none() {
        fields.mistake(fields.yaml.spot, format!("this lacks its `{key}`"));
    }
    match Template::new(text?) {
        Ok(template) => Some(Arc::new(template)),
        Err(problem) => {
            fields.mistake(fields.spot(key), format!("this is no Jinja template: {problem}"));
            None
        }
    }
}

impl Message {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let role = fields.choice("role", ROLES).unwrap_or("user").to_owned();
        let is_static = fields.bool("static").unwrap_or(false);
        let content = match fields.get("content") {
            Some(content) if content.text().is_none() => {
                let parts = fields.items("content", "a part of a message");
                Content::Parts(parts.into_iter().filter_map(|part| Part::read(part, is_static)).collect())
            }
            _ if is_static => Content::Static(fields.text("content")?.to_owned()),
            _ => Content::Text(template(fields, "content")?),
        };
        let rest = ["tool_calls", "tool_call_id", "name"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), fields.json(key)?)))
            .collect();
        Some(Self { role, content, rest })
    }

    fn templates(&self) -> Vec<&Arc<Template>> {
        match &self.content {
            Content::Static(_) => Vec::new(),
            Content::Text(template) => vec![template],
            Content::Parts(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text(template) | Part::Image(template, _) | Part::File(template, _) => {
                        Some(template)
                    }
                    Part::Static(_) => None,
                })
                .collect(),
        }
    }

    async fn render(&self, run: &RunContext, input: &Map<String, Value>) -> Result<Value, NodeError> {
        let content = match &self.content {
            Content::Static(text) => text.clone().into(),
            Content::Text(template) => template.render(run, input).await?.into(),
            Content::Parts(parts) => {
                let mut rendered = Vec::with_capacity(parts.len());
                for part in parts {
                    rendered.push(part.render(run, input).await?);
                }
                // A single text part becomes a plain message.
                match rendered.as_mut_slice() {
                    [only] if only["type"] == "text" => only["text"].take(),
                    _ => rendered.into(),
                }
            }
        };
        let mut message = Map::new();
        message.insert("content".into(), content);
        message.insert("role".into(), self.role.clone().into());
        message.extend(self.rest.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(Value::Object(message))
    }
}

impl Part {
    fn read(fields: Fields<'_>, is_static: bool) -> Option<Self> {
        match fields.text("type").unwrap_or("text") {
            "image_url" => {
                let image = fields.fields("image_url")?;
                let detail = image.text("detail").unwrap_or("auto").to_owned();
                Some(Self::Image(template(image, "url")?, detail))
            }
            "file" => {
                let file = fields.fields("file")?;
                Some(Self::File(template(file, "file_data")?, file.json("video_metadata")))
            }
            "text" if is_static => Some(Self::Static(fields.text("text")?.to_owned())),
            "text" => Some(Self::Text(template(fields, "text")?)),
            other => {
                let message = format!("`{other}` is not one of `text`, `image_url`, `file`");
                fields.mistake(fields.spot("type"), message);
                None
            }
        }
    }

    async fn render(&self, run: &RunContext, input: &Map<String, Value>) -> Result<Value, NodeError> {
        Ok(match self {
            Self::Static(text) => json!({"type": "text", "text": text}),
            Self::Text(template) => json!({"type": "text", "text": template.render(run, input).await?}),
            Self::Image(url, detail) => {
                json!({"type": "image_url", "image_url": {"url": url.render(run, input).await?, "detail": detail}})
            }
            Self::File(data, metadata) => {
                let mut file = json!({"file_data": data.render(run, input).await?});
                if let Some(metadata) = metadata {
                    file["video_metadata"] = metadata.clone();
                }
                json!({"type": "file", "file": file})
            }
        })
    }
}
