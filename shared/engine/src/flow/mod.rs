//! Flows: nodes, their dependencies, and the scheduler that runs them.

mod announce;
mod approval;
mod cache;
mod depends;
mod dict;
mod errors;
mod node;
mod offer;
pub(crate) mod params;
mod resting;
mod result;
mod schedule;
mod source;

pub(crate) use approval::{Approval, Approved, Expiry, INPUT_EXPIRED, OnExpiry, ToolCalled, hidden};
pub(crate) use cache::{Cache, CacheKey};
pub(crate) use depends::{Branches, Depend};
pub(crate) use errors::{Behavior, ErrorHandling, seconds};
pub(crate) use node::{Call, Halt, Kind, Node, NodeSpec, Role, run_tool, run_within};
pub(crate) use offer::{Listed, ToolSpec};
pub(crate) use resting::RestTracker;
pub(crate) use result::LIMIT_EXCEEDED;
pub use result::{FailedNode, NodeError, Status};
pub(crate) use source::{Results, Source};

use crate::services::BUDGET_EXCEEDED;
use serde_json::{Map, Value};
use std::{collections::HashMap, sync::Arc};

/// A flow, compiled.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) nodes: FlowNodes,
    /// How many nodes may run at the same time.
    pub(crate) max_node_workers: Option<usize>,
}

/// The nodes of a flow, in the order of the file.
#[derive(Debug)]
pub(crate) struct FlowNodes {
    nodes: Vec<Node>,
    by_id: HashMap<Arc<str>, u32>,
    /// By node, the nodes that depend on it.
    dependents: Vec<Vec<u32>>,
}

/// How a flow ended.
pub(crate) struct FlowEnd {
    pub(crate) results: Results,
    /// The nodes that ended, in that order.
    pub(crate) order: Vec<u32>,
    pub(crate) stop: Stop,
}

/// Why a flow stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// All nodes have ended.
    Done,
    /// The remaining nodes wait for a person.
    Suspended,
    /// The run is no longer executed here.
    Stopped,
}

impl FlowNodes {
    /// `nodes` must be validated: unique ids, dependencies only among each other, no cycle.
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        let by_id = (0..).zip(&nodes).map(|(index, node)| (Arc::clone(&node.id), index)).collect();
        let mut dependents = vec![Vec::new(); nodes.len()];
        for (index, node) in (0..).zip(&nodes) {
            for depend in &node.depends {
                dependents[depend.node as usize].push(index);
            }
        }
        Self { nodes, by_id, dependents }
    }

    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn id(&self, node: u32) -> &str {
        &self.nodes[node as usize].id
    }

    pub(crate) fn get(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Node)> {
        (0..).zip(&self.nodes)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn dependents(&self, node: u32) -> &[u32] {
        &self.dependents[node as usize]
    }
}

impl Flow {
    /// The nodes whose failure fails the flow: those that raise, unless an error edge handled the failure.
    pub(crate) fn failures(&self, end: &FlowEnd) -> Vec<u32> {
        let mut handled = Vec::new();
        for (index, node) in self.nodes.iter() {
            let ran = end.results.get(index).is_some_and(|result| result.status != Status::Skip);
            if ran {
                handled
                    .extend(node.depends.iter().filter(|depend| depend.on_failure).map(|depend| depend.node));
            }
        }
        let failed = |index: &u32| {
            let Some(result) = end.results.get(*index).filter(|result| result.status == Status::Failure)
            else {
                return false;
            };
            let is_handled =
                handled.contains(index) || self.nodes.get(*index).errors.behavior != Behavior::Raise;
            // An exceeded budget of the run cannot be handled.
            !is_handled || result.error.as_ref().is_some_and(|error| error.kind == BUDGET_EXCEEDED)
        };
        end.order.iter().copied().filter(failed).collect()
    }

    /// The error of a flow that failed.
    pub(crate) fn error(&self, end: &FlowEnd) -> Option<NodeError> {
        let failed: Vec<FailedNode> = self
            .failures(end)
            .into_iter()
            .map(|index| {
                let node = self.nodes.get(index);
                let error = end.results.get(index).and_then(|result| result.error.as_ref());
                FailedNode {
                    id: node.id.to_string(),
                    name: node.name.clone(),
                    message: error.map(|error| error.message.clone()).unwrap_or_default(),
                }
            })
            .collect();
        if failed.is_empty() {
            return None;
        }
        let names: Vec<&str> = failed.iter().map(|node| node.name.as_deref().unwrap_or(&node.id)).collect();
        let message = format!("Flow execution failed due to node failures: {}", names.join(", "));
        Some(NodeError { failed_nodes: failed, ..NodeError::new("FlowNodeFailureException", message) })
    }

    /// Every node's `{status, input, output, error?}`, by id.
    pub(crate) fn results(&self, input: &Map<String, Value>, end: &FlowEnd) -> Map<String, Value> {
        let source = Source { input, nodes: &self.nodes, results: &end.results, seen: &end.order };
        end.order
            .iter()
            .filter_map(|index| {
                let result = end.results.get(*index)?;
                Some((self.nodes.id(*index).to_owned(), source.result_with_input(result)))
            })
            .collect()
    }
}
