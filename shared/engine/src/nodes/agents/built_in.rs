//! Tools that work on the files and tasks that an agent keeps during a run.
//!
//! They have no external effects, and depend only on their input and the agent's files and tasks. So their results are
//! not journaled: a replay calls them again, as the model's journaled replies say.

use super::workspace::Workspace;
use crate::{
    compute,
    flow::{Call, Halt, Kind, NodeError, ToolSpec},
    nodes::mapping,
};
use async_trait::async_trait;
use runyard_runs::RunContext;
use serde_json::{Map, Value};
use std::{
    fmt,
    sync::{Arc, Mutex},
};

/// A tool on an agent's own files and tasks.
#[derive(Clone, Copy)]
pub(crate) struct BuiltInTool {
    /// Its group and class, as in [`crate::nodes::Registered`].
    pub(crate) class: &'static str,
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) parameters: fn() -> Value,
    pub(crate) parallel: bool,
    pub(crate) work: Work,
}

/// The function of such a tool. Its output has a `content`.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Takes little time for any input.
    Short(fn(&mut Workspace, &Map<String, Value>) -> Result<Value, NodeError>),
    /// A [computation](compute) that changes nothing.
    Long(fn(&Workspace, &Map<String, Value>) -> Result<Value, NodeError>),
}

impl fmt::Debug for BuiltInTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Own").field(&self.class).finish()
    }
}

impl BuiltInTool {
    pub(super) fn offer(&self) -> ToolSpec {
        ToolSpec { description: self.description, parameters: (self.parameters)(), parallel: self.parallel }
    }

    /// Runs the tool. The input may lack required fields.
    pub(super) async fn run(
        &self,
        run: &RunContext,
        desk: &Mutex<Workspace>,
        input: &Map<String, Value>,
    ) -> Result<Value, NodeError> {
        match self.work {
            Work::Short(work) => work(&mut Workspace::lock(desk), input),
            Work::Long(work) => {
                let detached = || {
                    let (desk, input) = (Workspace::lock(desk).clone(), input.clone());
                    move || work(&desk, &input)
                };
                compute::run(run, self.name, || work(&Workspace::lock(desk), input), detached).await
            }
        }
    }
}

/// An error that the model can recover from.
pub(crate) fn failed(message: impl Into<String>) -> NodeError {
    NodeError { recoverable: true, ..NodeError::new("ToolExecutionException", message).lasting() }
}

/// Such a tool as a node of a flow: it works on the run's files.
#[derive(Debug)]
pub(crate) struct BuiltInNode(pub(crate) BuiltInTool);

#[async_trait]
impl Kind for BuiltInNode {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let mut desk = Workspace::default();
        for file in &call.run.new_run().files {
            desk.fetch(call.run, file.id).await?;
        }
        let empty = Map::new();
        let input = input.as_object().unwrap_or(&empty);
        Ok(Arc::new(self.0.run(call.run, &Mutex::new(desk), input).await?))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "a node that works on files")
    }

    fn offer(&self) -> ToolSpec {
        self.0.offer()
    }
}
