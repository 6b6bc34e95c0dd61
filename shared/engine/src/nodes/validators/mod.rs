//! Validators: nodes that check a value. They return `{valid, content}`, or fail if `behavior` is `raise`.

mod regex_match;
mod valid_choices;
mod valid_json;
mod valid_python;

use super::{
    Registered,
    admit::{ANY, InputCheck},
};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

pub(super) const NODES: &[&Registered] = &[
    &regex_match::REGEX_MATCH,
    &valid_choices::VALID_CHOICES,
    &valid_json::VALID_JSON,
    &valid_python::VALID_PYTHON,
];

/// The check of a kind of validator.
#[async_trait]
trait Check: fmt::Debug + Send + Sync {
    /// Fails if the content is invalid, or cannot be checked.
    async fn check(&self, call: Call<'_>, content: &Value) -> Result<(), Invalid>;
}

/// Why the content is not known to be valid.
enum Invalid {
    /// The content is invalid, for this reason.
    Because(String),
    /// The check failed.
    Unknown(NodeError),
}

/// The node of a validator.
#[derive(Debug)]
struct Validator<C> {
    check: C,
    /// Whether an invalid value fails the node.
    raises: bool,
}

impl<C: Check + 'static> Validator<C> {
    fn build(fields: Fields<'_>, check: C) -> Box<dyn Kind> {
        let raises = fields.choice("behavior", &[("raise", true), ("return", false)]).unwrap_or(false);
        Box::new(Self { check, raises })
    }
}

#[async_trait]
impl<C: Check> Kind for Validator<C> {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let content = &input["content"];
        let valid = match self.check.check(call, content).await {
            Ok(()) => true,
            Err(Invalid::Because(_)) if !self.raises => false,
            Err(Invalid::Because(why)) => return Err(NodeError::new("ValueError", why).into()),
            Err(Invalid::Unknown(error)) => return Err(error.into()),
        };
        Ok(Arc::new(json!({"valid": valid, "content": content})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a validator")?;
        input.required("content", ANY)?;
        Ok(input.done())
    }
}
