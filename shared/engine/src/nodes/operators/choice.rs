//! Choice: decides by conditions which of its options are taken; other nodes depend on an option.

use super::{Registered, mapping};
use crate::{
    compute,
    condition::Condition,
    flow::{Call, Halt, Kind, NodeError},
    load::{Fields, condition},
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::{collections::HashSet, sync::Arc};

pub(super) const CHOICE: Registered = Registered {
    class: "operators.Choice",
    name: Some("choice"),
    timeout: None,
    build: |id, fields, _| Some(Box::new(Choice(Arc::new(Options::read(id, fields))))),
};

#[derive(Debug)]
struct Choice(Arc<Options>);

#[derive(Debug)]
struct Options {
    ids: Vec<String>,
    /// One per option. An option without a condition is taken if no other is.
    conditions: Vec<Option<Condition>>,
    /// Whether to evaluate all options, instead of only those up to the first that is taken.
    all: bool,
}

impl Options {
    fn read(node: &str, fields: Fields<'_>) -> Self {
        let mut ids = Vec::new();
        let mut known = HashSet::new();
        let mut conditions = Vec::new();
        for (index, option) in fields.items("options", "an option").into_iter().enumerate() {
            option.know(&["name"]);
            let id = option.text("id").map_or_else(|| format!("{node}-option-{index}"), str::to_owned);
            if !known.insert(id.clone()) {
                option.mistake(option.spot("id"), format!("duplicate option `{id}`"));
            }
            ids.push(id);
            conditions.push(option.fields("condition").and_then(condition));
        }
        let all = fields.choice("hit_policy", &[("first", false), ("all", true)]).unwrap_or(false);
        Self { ids, conditions, all }
    }

    /// Returns for each option whether it is taken; `None` if it was not evaluated.
    fn decide(&self, input: &Value) -> Result<Vec<Option<bool>>, NodeError> {
        let mut decisions = Vec::with_capacity(self.ids.len());
        if self.all {
            for condition in &self.conditions {
                decisions.push(condition.as_ref().map(|condition| condition.holds(input)).transpose()?);
            }
            if !decisions.contains(&Some(true)) {
                for decision in decisions.iter_mut().filter(|decision| decision.is_none()) {
                    *decision = Some(true);
                }
            }
            return Ok(decisions);
        }
        let mut taken = false;
        for condition in &self.conditions {
            if taken {
                decisions.push(None);
                continue;
            }
            taken = condition.as_ref().map_or(Ok(true), |condition| condition.holds(input))?;
            decisions.push(Some(taken));
        }
        Ok(decisions)
    }

    /// Returns the result of each option: whether it is taken, and the input.
    fn results(&self, input: &Value) -> Result<Value, NodeError> {
        let decisions = self.decide(input)?;
        let mut results = Map::with_capacity(self.ids.len());
        for (id, decision) in self.ids.iter().zip(decisions) {
            let status = match decision {
                Some(true) => "success",
                Some(false) => "failure",
                None => "skip",
            };
            // Each result has a copy of the input.
            if compute::walk(input).is_err() {
                return Err(NodeError::limit_exceeded(
                    "the results of the options of a Choice are too large",
                ));
            }
            results.insert(id.clone(), json!({"status": status, "input": input, "output": decision}));
        }
        Ok(Value::Object(results))
    }
}

#[async_trait]
impl Kind for Choice {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let detached = || {
            let (options, input) = (Arc::clone(&self.0), Arc::clone(input));
            move || options.results(&input)
        };
        Ok(Arc::new(compute::run(call.run, "a Choice", || self.0.results(input), detached).await?))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "a Choice")
    }

    fn options(&self) -> &[String] {
        &self.0.ids
    }
}

/// Whether an entry of an output is the result of an option of a Choice.
pub(crate) fn is_option_result(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.contains_key("status"))
}
