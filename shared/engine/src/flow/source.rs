//! A node's source: the run's input, merged with the results of the flow's finished nodes.

use super::{
    FlowNodes,
    result::{Input, NodeResult},
};
use crate::compute::{self, Exceeded};
use runyard_runs::Size;
use serde_json::{Map, Value};
use std::sync::OnceLock;

/// The results of a flow's nodes, by node index.
#[derive(Debug)]
pub(crate) struct Results(Box<[OnceLock<NodeResult>]>);

impl Results {
    pub(crate) fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| OnceLock::new()).collect())
    }

    pub(crate) fn get(&self, node: u32) -> Option<&NodeResult> {
        self.0.get(node as usize)?.get()
    }

    pub(crate) fn set(&self, node: u32, result: NodeResult) {
        // A node ends once; a second result would be a bug in the scheduler, and is ignored.
        let _ = self.0[node as usize].set(result);
    }
}

/// The data that a node can read.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The run's input.
    pub(crate) input: &'a Map<String, Value>,
    pub(crate) nodes: &'a FlowNodes,
    pub(crate) results: &'a Results,
    /// The nodes that had finished, in that order.
    pub(crate) seen: &'a [u32],
}

impl<'a> Source<'a> {
    /// The result of a finished node.
    pub(crate) fn result(&self, id: &str) -> Option<&'a NodeResult> {
        let node = self.nodes.find(id)?;
        if self.seen.contains(&node) { self.results.get(node) } else { None }
    }

    /// Charges the budget for reading all of the source.
    pub(crate) fn walk(&self) -> Result<(), Exceeded> {
        self.input.values().try_for_each(compute::walk)?;
        for result in self.seen.iter().filter_map(|node| self.results.get(*node)) {
            compute::walk(&result.output)?;
            match &result.input {
                Input::Given(value) => compute::walk(value)?,
                // Contains the outputs of earlier nodes, which are counted above.
                Input::Merged(seen) => compute::step(seen.len() as u64)?,
            }
        }
        Ok(())
    }

    /// The whole source, each result as `{status, input, output, error?}`.
    pub(crate) fn with_inputs(&self) -> Value {
        self.merged(|result| self.result_with_input(result))
    }

    /// The whole source, each result as `{status, output, error?}`.
    pub(crate) fn without_inputs(&self) -> Value {
        self.merged(NodeResult::without_input)
    }

    /// The size of [`Source::without_inputs`], not counting the run's input.
    pub(crate) fn size(&self) -> Size {
        let results = self.seen.iter().filter_map(|node| self.results.get(*node));
        results.fold(Size::default(), |sum, result| sum + result.size)
    }

    /// `{status, input, output, error?}`.
    pub(crate) fn result_with_input(&self, result: &NodeResult) -> Value {
        result.with_input(self.input_of(result))
    }

    /// A node's input, built if necessary.
    pub(crate) fn input_of(&self, result: &NodeResult) -> Value {
        match &result.input {
            Input::Given(value) => (**value).clone(),
            Input::Merged(seen) => Source { seen, ..*self }.without_inputs(),
        }
    }

    fn merged(&self, show: impl Fn(&NodeResult) -> Value) -> Value {
        let mut merged = self.input.clone();
        for node in self.seen {
            if let Some(result) = self.results.get(*node) {
                merged.insert(self.nodes.id(*node).to_owned(), show(result));
            }
        }
        Value::Object(merged)
    }
}
