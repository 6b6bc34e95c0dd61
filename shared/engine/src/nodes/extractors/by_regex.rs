//! `ByRegexExtractor`: returns all matches of a pattern in a text.

use super::{InputCheck, Registered, TEXT};
use crate::{
    compute,
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    pattern::Pattern,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{fmt::Display, sync::Arc};

pub(super) const BY_REGEX_EXTRACTOR: Registered = Registered {
    class: "extractors.ByRegexExtractor",
    name: Some("by-regex-extractor"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(ByRegexExtractor { pattern: read(fields) })),
};

#[derive(Debug)]
struct ByRegexExtractor {
    /// The default `pattern` of an input without one, or why it is invalid.
    pattern: Option<Result<Arc<Pattern>, String>>,
}

/// The cost of compiling a pattern of the input, in steps per byte.
const STEPS_TO_COMPILE: u64 = 20;

fn read(fields: Fields<'_>) -> Option<Result<Arc<Pattern>, String>> {
    Some(fields.pattern("pattern", fields.text("pattern")?)?.map(Arc::new))
}

/// Returns the matches of the input's pattern, or else of the node's pattern, `default`.
fn extract(default: Option<&Result<Arc<Pattern>, String>>, input: &Value) -> Result<Value, NodeError> {
    let value = input["value"].as_str().unwrap_or_default();
    let given = match input["pattern"].as_str().filter(|text| !text.is_empty()) {
        Some(text) => {
            let limit = |_| failed("`pattern` takes too many steps to compile");
            compute::step(text.len() as u64 * STEPS_TO_COMPILE).map_err(limit)?;
            Some(Pattern::python(text).map(Arc::new))
        }
        None => None,
    };
    let pattern = match given.as_ref().or(default) {
        Some(Ok(pattern)) => pattern,
        Some(Err(problem)) => return Err(failed(problem)),
        None => return Err(failed("`pattern` cannot be blank")),
    };
    let found = pattern.find_iter(value).map(|found| found.map(|found| &value[found]));
    Ok(json!({"matches": found.collect::<Result<Vec<_>, _>>()?}))
}

#[async_trait]
impl Kind for ByRegexExtractor {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let away = || {
            let (default, input) = (self.pattern.clone(), Arc::clone(input));
            move || extract(default.as_ref(), &input)
        };
        let here = || extract(self.pattern.as_ref(), input);
        Ok(Arc::new(compute::run(call.run, "a regular expression", here, away).await?))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a ByRegexExtractor")?;
        input.required("value", TEXT)?;
        input.or("pattern", Value::Null, TEXT)?;
        Ok(input.done())
    }
}

fn failed(problem: impl Display) -> NodeError {
    NodeError::new("ValueError", format!("nothing can be extracted: {problem}"))
}
