//! `ByRegexExtractor`: all that matches a pattern in a text.

use super::{Admission, Registered, TEXT};
use crate::{
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
    /// Used unless the input has a `pattern` of its own; or why it is none.
    pattern: Option<Result<Pattern, String>>,
}

fn read(fields: Fields<'_>) -> Option<Result<Pattern, String>> {
    fields.pattern("pattern", fields.text("pattern")?)
}

#[async_trait]
impl Kind for ByRegexExtractor {
    async fn execute(&self, _: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let value = input["value"].as_str().unwrap_or_default();
        let given = input["pattern"].as_str().filter(|text| !text.is_empty()).map(Pattern::python);
        let pattern = match given.as_ref().or(self.pattern.as_ref()) {
            Some(Ok(pattern)) => pattern,
            Some(Err(problem)) => return Err(failed(problem).into()),
            None => return Err(failed("there is no `pattern`").into()),
        };
        let found = pattern.find_iter(value).map(|found| found.map(|found| &value[found]));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(json!({"matches": found})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = Admission::of(&input, "a ByRegexExtractor")?;
        input.required("value", TEXT)?;
        input.or("pattern", Value::Null, TEXT)?;
        Ok(input.done())
    }
}

fn failed(problem: impl Display) -> NodeError {
    NodeError::new("ValueError", format!("nothing can be extracted: {problem}"))
}
