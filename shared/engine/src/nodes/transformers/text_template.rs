//! `TextTemplate`: renders a Jinja template with the input as its variables.

use super::{Registered, mapping};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    template::Template,
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const TEXT_TEMPLATE: Registered = Registered {
    class: "transformers.TextTemplate",
    name: Some("text-template"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(TextTemplate::read(fields)?)),
};

#[derive(Debug)]
struct TextTemplate {
    /// The default `template` of an input without one.
    template: Option<Arc<Template>>,
}

impl TextTemplate {
    fn read(fields: Fields<'_>) -> Option<Self> {
        let template = match fields.text("template").filter(|text| !text.is_empty()).map(Template::new) {
            Some(Ok(template)) => Some(Arc::new(template)),
            Some(Err(problem)) => {
                fields.mistake(fields.spot("template"), format!("this is no Jinja template: {problem}"));
                return None;
            }
            None => None,
        };
        Some(Self { template })
    }
}

#[async_trait]
impl Kind for TextTemplate {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let input = input.as_object().unwrap_or(&empty);
        let given = input.get("template").and_then(Value::as_str).filter(|text| !text.is_empty());
        let given = match given.map(Template::new) {
            Some(Ok(template)) => Some(Arc::new(template)),
            Some(Err(problem)) => return Err(NodeError::new("TemplateSyntaxError", problem).into()),
            None => None,
        };
        let Some(template) = given.as_ref().or(self.template.as_ref()) else {
            return Err(NodeError::new("ValueError", "Text template was not provided.").into());
        };
        if let Some(missing) = template.required().iter().find(|name| !input.contains_key(*name)) {
            let message = format!("the template needs `{missing}`, which is not in the input");
            return Err(NodeError::new("ValueError", message).into());
        }
        match template.render(call.run, input).await {
            Ok(text) => Ok(Arc::new(json!({"content": text}))),
            Err(error) if error.code() == "limit_exceeded" => Err(error.into()),
            Err(error) => Err(NodeError::new("ValueError", error.message).into()),
        }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let input = mapping(input, "a TextTemplate")?;
        match input.get("template") {
            Some(Value::Null | Value::String(_)) => Ok(input),
            Some(_) => Err(NodeError::new("ValidationError", "`template` of the input must be text")),
            None => {
                let mut with_template = Map::from_iter([("template".to_owned(), Value::Null)]);
                with_template.extend(Arc::unwrap_or_clone(input).as_object().cloned().unwrap_or_default());
                Ok(Arc::new(Value::Object(with_template)))
            }
        }
    }
}
