//! Tools that work on what an agent keeps for itself during a run: its files and its list.
//!
//! They reach nothing outside and depend on nothing but their input and what was kept before. So they are journaled by the
//! model's reply alone: a replay does them again.

use super::desk::Desk;
use crate::{
    flow::{Call, Halt, Kind, NodeError, Offer},
    nodes::mapping,
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

/// Such a tool.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    /// Its group and class, as in [`crate::nodes::Registered`].
    pub(crate) class: &'static str,
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) parameters: fn() -> Value,
    pub(crate) parallel: bool,
    /// Does it; the output has a `content`.
    pub(crate) work: fn(&mut Desk, &Map<String, Value>) -> Result<Value, NodeError>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Own").field(&self.class).finish()
    }
}

impl Own {
    pub(super) fn offer(&self) -> Offer {
        Offer { description: self.description, parameters: (self.parameters)(), parallel: self.parallel }
    }

    /// Does it, on input that may lack what it needs.
    pub(super) fn run(&self, desk: &mut Desk, input: &Map<String, Value>) -> Result<Value, NodeError> {
        (self.work)(desk, input)
    }
}

/// An error that the model can do something about.
pub(crate) fn failed(message: impl Into<String>) -> NodeError {
    NodeError { recoverable: true, ..NodeError::new("ToolExecutionException", message).lasting() }
}

/// Such a tool as a node of a flow: it sees the run's files.
#[derive(Debug)]
pub(crate) struct Alone(pub(crate) Own);

#[async_trait]
impl Kind for Alone {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let mut desk = Desk::default();
        for file in &call.run.new_run().files {
            desk.fetch(call.run, file.id).await?;
        }
        let empty = Map::new();
        Ok(Arc::new(self.0.run(&mut desk, input.as_object().unwrap_or(&empty))?))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "a node that works on files")
    }

    fn offer(&self) -> Offer {
        self.0.offer()
    }
}
