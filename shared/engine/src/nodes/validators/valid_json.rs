//! `ValidJSON`: checks whether a text is JSON. Other values come from JSON, so they are valid.

use super::{Check, Invalid, Registered, Validator};
use crate::flow::Call;
use async_trait::async_trait;
use serde::de::IgnoredAny;
use serde_json::Value;

pub(super) const VALID_JSON: Registered = Registered {
    class: "validators.ValidJSON",
    name: Some("validator"),
    timeout: None,
    build: |_, fields, _| Some(Validator::build(fields, ValidJson)),
};

#[derive(Debug)]
struct ValidJson;

#[async_trait]
impl Check for ValidJson {
    async fn check(&self, _: Call<'_>, content: &Value) -> Result<(), Invalid> {
        let Some(text) = content.as_str() else { return Ok(()) };
        serde_json::from_str::<IgnoredAny>(text)
            .map(drop)
            .map_err(|problem| Invalid::Because(format!("`{text}` is not valid JSON: {problem}")))
    }
}
