//! `RegexMatch`: checks whether a text matches a pattern, as a whole or in part.

use super::{Check, Invalid, Registered, Validator};
use crate::{
    compute,
    flow::{Call, Kind},
    load::Fields,
    pattern::Pattern,
};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

pub(super) const REGEX_MATCH: Registered = Registered {
    class: "validators.RegexMatch",
    name: Some("validator"),
    timeout: None,
    build: |id, fields, _| read(id, fields),
};

/// Limit on the part of a text that an error shows, in bytes.
const MAX_SHOWN_BYTES: usize = 500;

#[derive(Debug)]
struct RegexMatch {
    /// The pattern, or why it is invalid, which makes every value invalid.
    pattern: Result<Arc<Pattern>, String>,
}

fn read(id: &str, fields: Fields<'_>) -> Option<Box<dyn Kind>> {
    if fields.get("regex").is_none() {
        fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `regex`"));
    }
    let is_full_match =
        fields.choice("match_type", &[("fullmatch", true), ("search", false)]).unwrap_or(true);
    let text = fields.text("regex")?;
    let pattern = if is_full_match {
        fields.pattern("regex", &format!("\\A(?:{text})\\Z"))?
    } else {
        fields.pattern("regex", text)?
    };
    Some(Validator::build(fields, RegexMatch { pattern: pattern.map(Arc::new) }))
}

#[async_trait]
impl Check for RegexMatch {
    async fn check(&self, call: Call<'_>, content: &Value) -> Result<(), Invalid> {
        let because = |why: String| Err(Invalid::Because(why));
        let pattern = match &self.pattern {
            Ok(pattern) => pattern,
            Err(problem) => return because(problem.clone()),
        };
        let Some(text) = content.as_str() else { return because("only text can match a pattern".into()) };
        let away = || {
            let (pattern, text) = (Arc::clone(pattern), text.to_owned());
            move || pattern.is_match(&text)
        };
        match compute::run(call.run, "a regular expression", || pattern.is_match(text), away).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let shown = &text[..text.floor_char_boundary(MAX_SHOWN_BYTES)];
                because(format!("`{shown}` does not match `{}`", pattern.as_str()))
            }
            Err(error) => Err(Invalid::Unknown(error)),
        }
    }
}
