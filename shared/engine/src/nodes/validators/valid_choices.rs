//! `ValidChoices`: checks whether a value is one of a list of choices. Text is trimmed first.

use super::{Check, Invalid, Registered, Validator};
use crate::{condition::equal, flow::Call, load::Fields, python_text};
use async_trait::async_trait;
use serde_json::Value;

pub(super) const VALID_CHOICES: Registered = Registered {
    class: "validators.ValidChoices",
    name: Some("validator"),
    timeout: None,
    build: |_, fields, _| Some(Validator::build(fields, ValidChoices { choices: choices(fields) })),
};

#[derive(Debug)]
struct ValidChoices {
    choices: Vec<Value>,
}

fn choices(fields: Fields<'_>) -> Vec<Value> {
    fields.list("choices").unwrap_or_default().iter().map(crate::load::Yaml::to_json).collect()
}

#[async_trait]
impl Check for ValidChoices {
    async fn check(&self, _: Call<'_>, content: &Value) -> Result<(), Invalid> {
        let trimmed = content.as_str().map(|text| Value::from(text.trim()));
        let content = trimmed.as_ref().unwrap_or(content);
        if self.choices.iter().any(|choice| equal(choice, content)) {
            return Ok(());
        }
        let (value, choices) =
            (python_text::str(content), python_text::repr(&self.choices.as_slice().into()));
        Err(Invalid::Because(format!("`{value}` is not one of {choices}")))
    }
}
