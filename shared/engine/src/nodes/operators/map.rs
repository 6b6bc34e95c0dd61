//! Map: executes one node for each item of a list.

use super::Registered;
use crate::{
    flow::{Call, Halt, Kind, Node, NodeError, run_within},
    load::{Fields, Loading, build_node},
    services::BUDGET_EXCEEDED,
};
use async_trait::async_trait;
use futures::{StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const MAP: Registered = Registered {
    class: "operators.Map",
    name: Some("map"),
    timeout: None,
    build: |id, fields, loading| Some(Box::new(Map::read(id, fields, loading)?)),
};

#[derive(Debug)]
struct Map {
    node: Box<Node>,
    /// Whether the failure of an item fails the Map; else the item's output is null.
    raises: bool,
    workers: usize,
}

impl Map {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        if fields.get("node").is_none() {
            fields.mistake(fields.yaml.spot, format!("the Map `{id}` lacks its `node`"));
        }
        let node = fields.fields("node")?;
        let inner = node.text("id").map_or_else(|| format!("{id}-item"), str::to_owned);
        let node = build_node(&inner, node, loading)?;
        Some(Self {
            node: Box::new(Node::new(node, Vec::new(), None)),
            raises: fields.choice("behavior", &[("raise", true), ("return", false)]).unwrap_or(false),
            workers: fields.count("max_workers").unwrap_or(1).max(1) as usize,
        })
    }
}

impl Map {
    fn run_one<'a>(
        &'a self,
        call: Call<'a>,
        index: usize,
        item: &'a Value,
    ) -> BoxFuture<'a, Result<Arc<Value>, Halt>> {
        Box::pin(async move { run_within(call, &self.node, &index.to_string(), item).await })
    }
}

#[async_trait]
impl Kind for Map {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let items = input["input"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut outputs = Vec::with_capacity(items.len());
        let mut suspended = false;
        {
            let _stay = call.rests.holds();
            let runs: Vec<_> =
                items.iter().enumerate().map(|(index, item)| self.run_one(call, index, item)).collect();
            let mut runs = std::pin::pin!(stream::iter(runs).buffered(self.workers));
            while let Some(ended) = runs.next().await {
                match ended {
                    Ok(output) => outputs.push((*output).clone()),
                    // The run's budget is used up, so the Map fails whatever its `behavior` is.
                    Err(Halt::Failed(error)) if error.kind == BUDGET_EXCEEDED => return Err(error.into()),
                    Err(Halt::Failed(_)) if self.raises => {
                        let message = format!(
                            "Map node failed to execute:Node under iteration index {} has failed.",
                            outputs.len() + 1
                        );
                        return Err(NodeError::new("ValueError", message).into());
                    }
                    Err(Halt::Failed(_)) => outputs.push(Value::Null),
                    // The other items go on, so that they need not be repeated when this one resumes.
                    Err(Halt::Suspended) => suspended = true,
                    Err(Halt::Stopped) => return Err(Halt::Stopped),
                }
            }
        }
        if suspended { Err(Halt::Suspended) } else { Ok(Arc::new(json!({"output": outputs}))) }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        match input.get("input") {
            Some(Value::Array(_)) => Ok(Arc::new(json!({"input": input["input"]}))),
            _ => Err(NodeError::new("ValidationError", "the input of a Map must have a list under `input`")),
        }
    }
}
