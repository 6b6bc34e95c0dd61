//! What nodes share beside the run: the ways to the outside, and how much may be spent there.

use crate::{
    egress::Http,
    flow::{Cache, NodeError},
    llm::Endpoint,
    python::PythonRunner,
};
use runyard_runs::{Clock, Limits, MemoryStore, ModelUsage, Price, RunContext};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The services of one app.
pub(crate) struct Services {
    pub(crate) python: Arc<dyn PythonRunner>,
    pub(crate) http: Http,
    pub(crate) limits: Limits,
    /// By the names of models.
    pub(crate) prices: BTreeMap<String, Price>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Only where the app keeps outputs.
    pub(crate) cache: Option<Cache>,
    /// What agents remember between runs.
    pub(crate) memory: Arc<dyn MemoryStore>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The kind of the error of a run that has used what its app allows.
pub(crate) const BUDGET_EXCEEDED: &str = "BudgetExceededError";

impl Services {
    /// What a model costs: what the app says, else its public price.
    pub(crate) fn price(&self, endpoint: &Endpoint) -> Option<Price> {
        self.prices.get(&endpoint.model).copied().or_else(|| endpoint.price())
    }

    /// Refuses a call to a model that would use more than the app allows a run, as far as that can be told before it is
    /// made: `least_tokens` is how many it takes in at least.
    pub(crate) fn check_budget(
        &self,
        run: &RunContext,
        endpoint: &Endpoint,
        least_tokens: u64,
    ) -> Result<(), NodeError> {
        let refuse = |message: String| Err(NodeError::new(BUDGET_EXCEEDED, message).lasting());
        let used = run.usage().total;
        if let Some(limit) = self.limits.tokens {
            let tokens = used.input_tokens + used.output_tokens;
            if tokens >= limit {
                return refuse(format!("the run has used the {limit} tokens that its app allows"));
            }
            if tokens + least_tokens > limit {
                return refuse(format!(
                    "the run has used {tokens} of the {limit} tokens that its app allows, and the next call takes {least_tokens} at least"
                ));
            }
        }
        if let Some(limit) = self.limits.cost_usd {
            let Some(price) = self.price(endpoint) else {
                return refuse(format!(
                    "the app limits what a run may cost, but the price of `{}` is not known; add it to `prices` in app.yaml",
                    endpoint.model
                ));
            };
            let next = price.cost(&ModelUsage { input_tokens: least_tokens, ..ModelUsage::default() });
            let spent = used.cost_nanodollars.unwrap_or(0);
            if dollars(spent) >= limit || dollars(spent + next) > limit {
                return refuse(format!(
                    "the run has cost {:.6} of the {limit} US dollars that its app allows",
                    dollars(spent)
                ));
            }
        }
        Ok(())
    }
}

/// In US dollars.
fn dollars(nanodollars: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 9 million dollars")]
    let dollars = nanodollars as f64 / 1e9;
    dollars
}
