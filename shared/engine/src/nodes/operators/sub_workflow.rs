//! `SubWorkflow`: executes another flow of the file as one node.

use super::{Registered, mapping};
use crate::{
    flow::{Call, Flow, FlowEnd, Halt, Kind, NodeError, Role, Stop},
    load::{Fields, Loading},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) const SUB_WORKFLOW: Registered = Registered {
    class: "operators.SubWorkflow",
    name: Some("sub_workflow"),
    timeout: None,
    build: |id, fields, loading| Some(Box::new(SubWorkflow::read(id, fields, loading)?)),
};

#[derive(Debug)]
struct SubWorkflow {
    name: String,
    flow: Arc<Flow>,
    /// Required inputs.
    required: Vec<String>,
}

impl SubWorkflow {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        // These fields are for editors; only the flow itself is executed.
        fields.know(&["workflow_id", "workflow_version_id", "output_fields"]);
        let mut required = Vec::new();
        for field in fields.items("input_fields", "a field") {
            field.know(&["id", "type"]);
            if let Some(name) = field.text("name")
                && field.bool("required") == Some(true)
            {
                required.push(name.to_owned());
            }
        }
        if fields.get("flow").is_none() {
            fields.mistake(fields.yaml.spot, format!("the SubWorkflow `{id}` lacks its `flow`"));
            return None;
        }
        let flow = loading.document?.flow_of(fields, loading)?;
        Some(Self { name: fields.text("name").unwrap_or("sub_workflow").to_owned(), flow, required })
    }

    fn run<'a>(&'a self, call: Call<'a>, input: &'a Map<String, Value>) -> BoxFuture<'a, FlowEnd> {
        Box::pin(async move {
            let _stay = call.rests.holds();
            self.flow.run(call.run, call.services, call.rests, input, &call.within()).await
        })
    }

    /// The output of its only Output node; if it has none or several, the outputs of all nodes, by id.
    fn output(&self, end: &FlowEnd) -> Value {
        let nodes = &self.flow.nodes;
        let output =
            |index: u32| end.results.get(index).map_or(Value::Null, |result| (*result.output).clone());
        let mut outputs = nodes.iter().filter(|(_, node)| matches!(node.kind.role(), Role::Output));
        if let (Some((index, _)), None) = (outputs.next(), outputs.next()) {
            return output(index);
        }
        end.order.iter().map(|index| (nodes.id(*index).to_owned(), output(*index))).collect()
    }
}

#[async_trait]
impl Kind for SubWorkflow {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let input = input.as_object().unwrap_or(&empty);
        let missing: Vec<&str> = self
            .required
            .iter()
            .map(String::as_str)
            .filter(|name| input.get(*name).is_none_or(Value::is_null))
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            let message = format!("the sub-workflow `{}` lacks required inputs: {missing}", self.name);
            return Err(NodeError::new("ValueError", message).into());
        }
        let end = self.run(call, input).await;
        if let Some(error) = self.flow.error(&end) {
            let reasons: Vec<String> = error
                .failed_nodes
                .iter()
                .map(|node| format!("{}: {}", node.name.as_deref().unwrap_or(&node.id), node.message))
                .collect();
            let message = format!("the sub-workflow `{}` failed: {}", self.name, reasons.join("; "));
            return Err(NodeError::new("ValueError", message).into());
        }
        match end.stop {
            Stop::Done => Ok(Arc::new(self.output(&end))),
            Stop::Suspended => Err(Halt::Suspended),
            Stop::Stopped => Err(Halt::Stopped),
        }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "a SubWorkflow")
    }
}
