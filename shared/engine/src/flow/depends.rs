//! Dependencies: which outcomes of other nodes allow a node to run.

use super::{Behavior, FlowNodes, NodeError, Source, Status, node::Node, result::NodeResult};
use crate::{compute, condition::Condition, nodes::is_option_result};
use runyard_runs::RunContext;
use serde_json::Value;
use std::sync::Arc;

/// One dependency of a node.
#[derive(Debug)]
pub(crate) struct Depend {
    /// Index of the node depended on.
    pub(crate) node: u32,
    /// The option of a Choice that must have been taken.
    pub(crate) option: Option<String>,
    /// The condition that the result must meet.
    pub(crate) condition: Option<Arc<Condition>>,
    /// Whether it is an error edge.
    pub(crate) on_failure: bool,
}

impl Depend {
    fn branches(&self) -> bool {
        self.option.is_some() || self.condition.is_some() || self.on_failure
    }
}

/// What an Output node needs to join branches of which only one was taken.
#[derive(Debug, Default)]
pub(crate) struct Branches {
    /// Indexes of the dependencies that are on a branch.
    gated: Vec<u32>,
    /// Indexes of the nodes with an outgoing error edge.
    error_sources: Vec<u32>,
}

impl Branches {
    /// The branches before a node with the dependencies `depends`; `all` has the dependencies of each node.
    pub(crate) fn of(depends: &[Depend], all: &[Vec<Depend>]) -> Self {
        let mut error_sources = Vec::new();
        let mut upstream = vec![false; all.len()];
        let mut rest: Vec<&Depend> = depends.iter().collect();
        while let Some(depend) = rest.pop() {
            if depend.on_failure {
                error_sources.push(depend.node);
            }
            if !std::mem::replace(&mut upstream[depend.node as usize], true) {
                rest.extend(&all[depend.node as usize]);
            }
        }
        let gated = gated(&upstream, &error_sources, all);
        let gated = depends.iter().map(|depend| depend.node).filter(|node| gated[*node as usize]).collect();
        Self { gated, error_sources }
    }

    fn taken(&self, depend: &Depend, result: &NodeResult) -> bool {
        let wanted = if depend.on_failure { Status::Failure } else { Status::Success };
        self.gated.contains(&depend.node) && result.status == wanted
    }

    fn not_taken(&self, depend: &Depend, result: &NodeResult) -> bool {
        self.gated.contains(&depend.node)
            && match result.status {
                Status::Success => depend.on_failure,
                Status::Skip => true,
                Status::Failure => !depend.on_failure && self.error_sources.contains(&depend.node),
            }
    }
}

/// Which of the `upstream` nodes may be skipped because a branch was not taken: those on a branch, and all nodes that
/// depend on them.
fn gated(upstream: &[bool], error_sources: &[u32], all: &[Vec<Depend>]) -> Vec<bool> {
    let mut dependents = vec![Vec::new(); all.len()];
    let mut gated = vec![false; all.len()];
    let mut next: Vec<u32> = error_sources.to_vec();
    for (index, depends) in (0..).zip(all).filter(|(index, _): &(u32, _)| upstream[*index as usize]) {
        for depend in depends {
            dependents[depend.node as usize].push(index);
        }
        if depends.iter().any(Depend::branches) {
            next.push(index);
        }
    }
    while let Some(node) = next.pop() {
        if !std::mem::replace(&mut gated[node as usize], true) {
            next.extend(&dependents[node as usize]);
        }
    }
    gated
}

/// Why a node is not executed.
pub(crate) enum NotExecuted {
    /// It is skipped.
    Skip(NodeError),
    /// It fails: a condition could not be evaluated.
    Fail(NodeError),
}

/// Checks that a node's dependencies allow it to run.
pub(crate) async fn check(run: &RunContext, node: &Node, source: &Source<'_>) -> Result<(), NotExecuted> {
    let result = |depend: &Depend| source.results.get(depend.node);
    let tolerant = node.branches.as_ref().filter(|branches| {
        node.depends.iter().any(|depend| result(depend).is_some_and(|result| branches.taken(depend, result)))
    });
    for depend in &node.depends {
        let Some(result) = result(depend) else { continue };
        if tolerant.is_some_and(|branches| branches.not_taken(depend, result)) {
            continue;
        }
        status(depend, result, source.nodes)?;
        condition(run, depend, result, source).await?;
        option(depend, result, source.nodes)?;
    }
    Ok(())
}

fn skip(kind: &'static str, message: String) -> NotExecuted {
    NotExecuted::Skip(NodeError::new(kind, message))
}

fn status(depend: &Depend, result: &NodeResult, nodes: &FlowNodes) -> Result<(), NotExecuted> {
    let node = nodes.get(depend.node);
    let id = &node.id;
    if depend.on_failure {
        return match result.status {
            Status::Failure => Ok(()),
            _ => Err(skip("NodeSkippedException", format!("Dependency {id}: did not fail"))),
        };
    }
    match result.status {
        Status::Failure if node.errors.behavior == Behavior::Raise => {
            Err(skip("NodeFailedException", format!("Dependency {id}: failed")))
        }
        Status::Skip if node.errors.behavior == Behavior::Raise => {
            Err(skip("NodeSkippedException", format!("Dependency {id}: skipped")))
        }
        _ => Ok(()),
    }
}

async fn condition(
    run: &RunContext,
    depend: &Depend,
    result: &NodeResult,
    source: &Source<'_>,
) -> Result<(), NotExecuted> {
    let Some(condition) = &depend.condition else { return Ok(()) };
    let data = source.result_with_input(result);
    let away = || {
        let (condition, data) = (Arc::clone(condition), data.clone());
        move || condition.holds(&data)
    };
    if compute::run(run, "a condition", || condition.holds(&data), away).await.map_err(NotExecuted::Fail)? {
        return Ok(());
    }
    let id = source.nodes.id(depend.node);
    Err(skip("NodeConditionFailedException", format!("Dependency {id} result condition: result is false")))
}

fn option(depend: &Depend, result: &NodeResult, nodes: &FlowNodes) -> Result<(), NotExecuted> {
    let Some(option) = &depend.option else { return Ok(()) };
    let Some(taken) = result.output.get(option).filter(|taken| is_option_result(taken)) else {
        return Ok(());
    };
    let id = nodes.id(depend.node);
    match taken.get("status").and_then(Value::as_str) {
        Some("failure") => Err(skip(
            "NodeConditionFailedException",
            format!("Dependency {id} option {option}: result is false"),
        )),
        Some("skip") => {
            Err(skip("NodeConditionSkippedException", format!("Dependency {id} option {option}: skipped")))
        }
        _ => Ok(()),
    }
}
