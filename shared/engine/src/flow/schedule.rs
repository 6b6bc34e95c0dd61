//! The scheduler: a node starts the moment the last of its dependencies ends.

use super::{
    Flow, FlowEnd, Rests, Stop,
    node::{Call, Ended, run_node},
    source::{Results, Source},
};
use crate::services::Services;
use futures::{StreamExt, stream::FuturesUnordered};
use runyard_runs::RunContext;
use serde_json::{Map, Value};
use std::collections::VecDeque;

impl Flow {
    /// Runs all nodes, those that do not depend on each other at the same time, in the caller's own task.
    ///
    /// `within` names, in the journal, what the flow is part of: empty, or ending in `/`.
    pub(crate) async fn run(
        &self,
        run: &RunContext,
        services: &Services,
        rests: &Rests,
        input: &Map<String, Value>,
        within: &str,
    ) -> FlowEnd {
        let results = Results::new(self.nodes.len());
        let mut missing: Vec<usize> = self.nodes.iter().map(|(_, node)| node.depends.len()).collect();
        let mut ready: VecDeque<u32> =
            self.nodes.iter().filter(|(_, node)| node.depends.is_empty()).map(|(place, _)| place).collect();
        let limit = self.max_node_workers.unwrap_or(usize::MAX);
        let mut order: Vec<u32> = Vec::with_capacity(self.nodes.len());
        let mut stop = Stop::Done;
        {
            let mut running = FuturesUnordered::new();
            loop {
                while running.len() < limit
                    && let Some(place) = ready.pop_front()
                {
                    let seen = order.clone();
                    let one = self.run_one(place, run, services, rests, input, &results, seen, within);
                    // Boxed, as the set keeps room for one more than it has.
                    running.push(Box::pin(one));
                }
                let Some((place, ended)) = running.next().await else { break };
                match ended {
                    Ended::With(result) => {
                        results.set(place, result);
                        order.push(place);
                        for dependent in self.nodes.dependents(place) {
                            let missing = &mut missing[*dependent as usize];
                            *missing -= 1;
                            if *missing == 0 {
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

    #[expect(clippy::too_many_arguments, reason = "the parts of one call, named where it is made")]
    async fn run_one(
        &self,
        place: u32,
        run: &RunContext,
        services: &Services,
        rests: &Rests,
        input: &Map<String, Value>,
        results: &Results,
        seen: Vec<u32>,
        within: &str,
    ) -> (u32, Ended) {
        let node = self.nodes.get(place);
        let key = format!("{within}{}", node.id);
        let call = Call { run, services, rests, node, key: &key, attempt: 0 };
        let source = Source { input, nodes: &self.nodes, results, seen: &seen };
        (place, run_node(call, source, None).await)
    }
}
