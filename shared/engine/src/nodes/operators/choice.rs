//! Choice: tells by conditions which of its options are taken; others depend on an option.

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
    /// By option; an option without a condition is taken if no other is.
    conditions: Vec<Option<Condition>>,
    /// Whether every option is judged, not only those up to the first that holds.
    all: bool,
}

impl Options {
    fn read(node: &str, fields: Fields<'_>) -> Self {
        let mut ids = Vec::new();
        let mut known = HashSet::new();
        let mut conditions = Vec::new();
        for (place, option) in fields.items("options", "an option").into_iter().enumerate() {
            option.know(&["name"]);
            let id = option.text("id").map_or_else(|| format!("{node}-option-{place}"), str::to_owned);
            if !known.insert(id.clone()) {
                option.mistake(option.spot("id"), format!("an option `{id}` stands here already"));
            }
            ids.push(id);
            conditions.push(option.fields("condition").and_then(condition));
        }
        let all = fields.choice("hit_policy", &[("first", false), ("all", true)]).unwrap_or(false);
        Self { ids, conditions, all }
    }

    /// Of each option whether it is taken; nothing if that was not asked any more.
    fn judge(&self, input: &Value) -> Result<Vec<Option<bool>>, NodeError> {
        let mut verdicts = Vec::with_capacity(self.ids.len());
        if self.all {
            for condition in &self.conditions {
                verdicts.push(condition.as_ref().map(|condition| condition.holds(input)).transpose()?);
            }
            if !verdicts.contains(&Some(true)) {
                for verdict in verdicts.iter_mut().filter(|verdict| verdict.is_none()) {
                    *verdict = Some(true);
                }
            }
            return Ok(verdicts);
        }
        let mut taken = false;
        for condition in &self.conditions {
            if taken {
                verdicts.push(None);
                continue;
            }
            taken = condition.as_ref().map_or(Ok(true), |condition| condition.holds(input))?;
            verdicts.push(Some(taken));
        }
        Ok(verdicts)
    }

    /// Of each option whether it is taken, with the input.
    fn results(&self, input: &Value) -> Result<Value, NodeError> {
        let verdicts = self.judge(input)?;
        let mut results = Map::with_capacity(self.ids.len());
        for (id, verdict) in self.ids.iter().zip(verdicts) {
            let status = match verdict {
                Some(true) => "success",
                Some(false) => "failure",
                None => "skip",
            };
            // Each holds a copy of the input.
            if compute::walk(input).is_err() {
                return Err(NodeError::limit_exceeded("the options of a Choice hold too much together"));
            }
            results.insert(id.clone(), json!({"status": status, "input": input, "output": verdict}));
        }
        Ok(Value::Object(results))
    }
}

#[async_trait]
impl Kind for Choice {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let away = || {
            let (options, input) = (Arc::clone(&self.0), Arc::clone(input));
            move || options.results(&input)
        };
        Ok(Arc::new(compute::run(call.run, "a Choice", || self.0.results(input), away).await?))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "a Choice")
    }

    fn options(&self) -> &[String] {
        &self.0.ids
    }
}

/// Whether an output's entry is what a Choice says of an option.
pub(crate) fn is_option_result(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.contains_key("status"))
}
