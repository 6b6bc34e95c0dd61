//! A compiled workflow.

use crate::{
    flow::{Flow, FlowEnd, NodeError, RestTracker, Role, Status, Stop},
    schema::Schema,
    services::Services,
};
use runyard_runs::{FieldErrors, File, Outcome, RunContext, RunError};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, sync::Arc};

/// A workflow of a file, compiled once: a run parses nothing.
#[derive(Debug)]
pub(crate) struct Workflow {
    id: String,
    flow: Arc<Flow>,
}

/// How a workflow ended, in the reference's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct RunResults {
    /// [`Status::Failure`] if a node failed and its failure was not handled.
    pub status: Status,
    /// By the ids of the nodes that ended: `{status, input, output, error?}`.
    pub output: Map<String, Value>,
    /// Why the workflow failed.
    pub error: Option<NodeError>,
}

impl RunResults {
    /// `{status, output, error}`.
    pub fn to_json(&self) -> Value {
        let error = self.error.as_ref().map(NodeError::to_json);
        json!({"status": self.status.name(), "output": self.output, "error": error})
    }
}

/// A run's input, with the run's files under `files` unless the input has that key.
pub(crate) fn with_files<'i>(input: &'i Map<String, Value>, files: &[File]) -> Cow<'i, Map<String, Value>> {
    if files.is_empty() || input.contains_key("files") {
        return Cow::Borrowed(input);
    }
    let mut whole = input.clone();
    whole.insert("files".into(), json!(files));
    Cow::Owned(whole)
}

impl Workflow {
    pub(crate) fn new(id: String, flow: Arc<Flow>) -> Self {
        Self { id, flow }
    }

    /// The schemas that a run's input must match.
    pub(crate) fn input_schemas(&self) -> impl Iterator<Item = &Schema> {
        self.flow.nodes.iter().filter_map(|(_, node)| match node.kind.role() {
            Role::Input(schema) => schema,
            _ => None,
        })
    }

    pub(crate) fn check_input(&self, input: &Value) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::new();
        self.input_schemas().for_each(|schema| schema.check(input, &mut errors));
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    pub(crate) async fn execute(&self, run: &RunContext, services: &Services) -> Outcome {
        let rests = RestTracker::default();
        let end = match rests.unless_all_rest(run, self.run(run, services, &rests)).await {
            Ok(end) => end,
            Err(until) => return Outcome::Resting(until),
        };
        let failed = self.flow.failures(&end);
        if let Some(index) = failed.first() {
            let node = self.flow.nodes.get(*index);
            let error = end.results.get(*index).and_then(|result| result.error.as_ref());
            let message = match error {
                Some(error) if error.message.is_empty() => error.kind.to_string(),
                Some(error) => error.message.clone(),
                None => format!("the node `{}` failed", node.id),
            };
            let code = error.map_or("node_failed", NodeError::code);
            return Outcome::Failed(RunError {
                node: Some(node.id.to_string()),
                ..RunError::new(code, message)
            });
        }
        if end.stop == Stop::Suspended {
            return Outcome::Suspended;
        }
        Outcome::Completed(self.output(&end))
    }

    /// Like [`Workflow::execute`], but returns every node's result.
    pub(crate) async fn results(&self, run: &RunContext, services: &Services) -> RunResults {
        let end = self.run(run, services, &RestTracker::default()).await;
        let error = self.flow.error(&end);
        let input = with_files(&run.new_run().input, &run.new_run().files);
        RunResults {
            status: if error.is_some() { Status::Failure } else { Status::Success },
            output: self.flow.results(&input, &end),
            error,
        }
    }

    async fn run(&self, run: &RunContext, services: &Services, rests: &RestTracker) -> FlowEnd {
        tracing::debug!(workflow = %self.id, run = %run.new_run().id, "executing");
        let input = with_files(&run.new_run().input, &run.new_run().files);
        let end = self.flow.run(run, services, rests, &input, "").await;
        if end.stop == Stop::Stopped {
            // The run was stopped: the outcome is not needed, and the caller drops this future.
            futures::future::pending::<()>().await;
        }
        end
    }

    /// The output of the Output node. Without one: that of the only node without dependents, or of all such nodes by
    /// id.
    fn output(&self, end: &FlowEnd) -> Arc<Value> {
        let output =
            |index: u32| end.results.get(index).map(|result| Arc::clone(&result.output)).unwrap_or_default();
        let nodes = &self.flow.nodes;
        let mut last: Vec<u32> = nodes
            .iter()
            .filter(|(_, node)| matches!(node.kind.role(), Role::Output))
            .map(|(p, _)| p)
            .collect();
        if last.is_empty() {
            last = nodes.iter().map(|(index, _)| index).filter(|p| nodes.dependents(*p).is_empty()).collect();
        } else {
            // With several Output nodes, each at the end of a branch, only those of branches that were taken count.
            let succeeded: Vec<u32> = last
                .iter()
                .copied()
                .filter(|index| end.results.get(*index).is_some_and(|r| r.status == Status::Success))
                .collect();
            if !succeeded.is_empty() {
                last = succeeded;
            }
        }
        if let [only] = last.as_slice() {
            output(*only)
        } else {
            let named = last.iter().map(|index| (nodes.id(*index).to_owned(), (*output(*index)).clone()));
            Arc::new(named.collect())
        }
    }
}
