//! The scheduler: a node starts as soon as the last of its dependencies has ended.

use super::{
    Flow, FlowEnd, RestTracker, Stop,
    node::{Call, Ended, run_node},
    source::{Results, Source},
};
use crate::services::Services;
use futures::{StreamExt, stream::FuturesUnordered};
use runyard_runs::RunContext;
use serde_json::{Map, Value};
use std::collections::VecDeque;

impl Flow {
    /// Runs all nodes in the caller's task; nodes that do not depend on each other run concurrently.
    ///
    /// `within` is the journal prefix of what contains the flow: empty, or ending in `/`.
    pub(crate) async fn run(
        &self,
        run: &RunContext,
        services: &Services,
        rests: &RestTracker,
        input: &Map<String, Value>,
        within: &str,
    ) -> FlowEnd {
        let results = Results::new(self.nodes.len());
        let mut waits_for: Vec<usize> = self.nodes.iter().map(|(_, node)| node.depends.len()).collect();
        let mut ready: VecDeque<u32> =
            self.nodes.iter().filter(|(_, node)| node.depends.is_empty()).map(|(index, _)| index).collect();
        let limit = self.max_node_workers.unwrap_or(usize::MAX);
        let mut order: Vec<u32> = Vec::with_capacity(self.nodes.len());
        let mut stop = Stop::Done;
        {
            let mut running = FuturesUnordered::new();
            loop {
                while running.len() < limit
                    && let Some(index) = ready.pop_front()
                {
                    let seen = order.clone();
                    let one = self.run_one(index, run, services, rests, input, &results, seen, within);
                    // Boxed, because the set allocates room for one more future than it holds.
                    running.push(Box::pin(one));
                }
                let Some((index, ended)) = running.next().await else { break };
                match ended {
                    Ended::With(result) => {
                        results.set(index, result);
                        order.push(index);
                        for dependent in self.nodes.dependents(index) {
                            let waits_for = &mut waits_for[*dependent as usize];
                            *waits_for -= 1;
                            if *waits_for == 0 {
                                ready.push_back(*dependent);
                            }
                        }
                    }
                    Ended::Suspended => stop = Stop::Suspended,
                    Ended::Stopped => {
                        stop = Stop::Stopped;
                        break;
                    }
                }
            }
        }
        FlowEnd { results, order, stop }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one call, which has a single caller")]
    async fn run_one(
        &self,
        index: u32,
        run: &RunContext,
        services: &Services,
        rests: &RestTracker,
        input: &Map<String, Value>,
        results: &Results,
        seen: Vec<u32>,
        within: &str,
    ) -> (u32, Ended) {
        let node = self.nodes.get(index);
        let key = format!("{within}{}", node.id);
        let call = Call { run, services, rests, node, key: &key, attempt: 0 };
        let source = Source { input, nodes: &self.nodes, results, seen: &seen };
        (index, run_node(call, source, None).await)
    }
}
