//! Expression: computes new fields from its input.

use super::{Registered, mapping};
use crate::{
    compute,
    expression::{self, Mode, Scope},
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
};
use async_trait::async_trait;
use jiff::civil::Date;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) const EXPRESSION: Registered = Registered {
    class: "operators.Expression",
    name: Some("expression"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(Expression(Arc::new(Computed::read(fields))))),
};

#[derive(Debug)]
struct Expression(Arc<Computed>);

/// The fields to compute.
#[derive(Debug)]
struct Computed {
    fields: Vec<(String, expression::Expression)>,
    /// Whether the output includes the input.
    passes_through: bool,
}

impl Computed {
    fn read(fields: Fields<'_>) -> Self {
        // `input_fields` is for editors; expressions name the inputs that they read.
        fields.know(&["input_fields"]);
        let mut computed: Vec<(String, expression::Expression)> = Vec::new();
        for item in fields.items("expressions", "an expression") {
            item.know(&["id"]);
            let (key, text) = (item.text("key"), item.text("expression"));
            for (name, value) in [("key", key), ("expression", text)] {
                if value.is_none() && item.get(name).is_none() {
                    item.mistake(item.yaml.spot, format!("an expression lacks its `{name}`"));
                }
            }
            let (Some(key), Some(text)) = (key, text) else { continue };
            if !is_identifier(key) {
                item.mistake(
                    item.spot("key"),
                    format!("`{key}` is not a valid name: use letters, digits and `_`"),
                );
            }
            if computed.iter().any(|(known, _)| known == key) {
                item.mistake(item.spot("key"), format!("duplicate expression `{key}`"));
            }
            match expression::Expression::new(text, Mode::Plain) {
                Ok(compiled) => computed.push((key.to_owned(), compiled)),
                Err(problem) => {
                    item.mistake(item.spot("expression"), format!("this is no expression: {problem}"));
                }
            }
        }
        Self { fields: computed, passes_through: fields.bool("pass_through").unwrap_or(false) }
    }

    /// Computes the output. Must be called within a [computation](compute).
    fn output(&self, input: &Value, today: Date) -> Result<Arc<Value>, NodeError> {
        let empty = Map::new();
        let input = input.as_object().unwrap_or(&empty);
        let scope = Scope { input, values: Vec::new() };
        let mut output = if self.passes_through { input.clone() } else { Map::new() };
        for (key, expression) in &self.fields {
            let value = expression.evaluate(&scope, today).result.and_then(|value| value.json());
            let value = value.map_err(|fault| NodeError::new(fault.kind(), fault.message()))?;
            output.insert(key.clone(), value);
        }
        Ok(Arc::new(Value::Object(output)))
    }
}

/// Whether a word is an identifier in Python.
pub(super) fn is_identifier(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && word.chars().all(|character| character.is_alphanumeric() || character == '_')
}

#[async_trait]
impl Kind for Expression {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let today = super::today(call);
        let detached = || {
            let (computed, input) = (Arc::clone(&self.0), Arc::clone(input));
            move || computed.output(&input, today)
        };
        let output =
            compute::run(call.run, "the expressions", || self.0.output(input, today), detached).await?;
        Ok(output)
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "an Expression")
    }
}
