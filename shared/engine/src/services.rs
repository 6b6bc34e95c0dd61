//! What nodes share beside the run: the ways to the outside, and how much may be spent there.

use crate::{
    egress::Http,
    flow::{Cache, NodeError},
    llm::Endpoint,
    python::PythonRunner,
    vectors::Memory,
};
use runyard_runs::{Limits, MemoryStore, ModelUsage, Price, ProcessMemory, RunContext};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

/// The services of one app.
pub(crate) struct Services {
    pub(crate) python: Arc<dyn PythonRunner>,
    pub(crate) http: Http,
    /// Documents that are kept in memory; of all apps.
    pub(crate) documents: Arc<Memory>,
    pub(crate) limits: Limits,
    /// By the names of models.
    pub(crate) prices: BTreeMap<String, Price>,
    /// Only where the app keeps outputs.
    pub(crate) cache: Option<Cache>,
    /// What agents remember between runs.
    pub(crate) memories: Memories,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Where agents remember: in this process, unless it is set before the first of them does.
#[derive(Clone, Default)]
pub(crate) struct Memories(Arc<OnceLock<Arc<dyn MemoryStore>>>);

impl Memories {
    /// Sets the store; the first stands.
    pub(crate) fn set(&self, store: Arc<dyn MemoryStore>) {
        let _ = self.0.set(store);
    }

    pub(crate) fn store(&self) -> &dyn MemoryStore {
        &**self.0.get_or_init(|| Arc::new(ProcessMemory::default()))
    }
}

/// The kind of the error of a run that has used what its app allows.
pub(crate) const BUDGET_EXCEEDED: &str = "BudgetExceededError";

impl Services {
    /// What a model costs: what the app says, else its public price.
    pub(crate) fn price(&self, endpoint: &Endpoint) -> Option<Price> {
        self.prices.get(&endpoint.model).copied().or_else(|| endpoint.price())
    }

    /// Refuses a call to a model once the run has used what its app allows.
    pub(crate) fn check_budget(&self, run: &RunContext) -> Result<(), NodeError> {
        let used = run.usage().total;
        if let Some(limit) = self.limits.tokens
            && used.input_tokens + used.output_tokens >= limit
        {
            return Err(exceeded(format!("the run has used the {limit} tokens that its app allows")));
        }
        let spent = dollars(used.cost_nanodollars.unwrap_or(0));
        if let Some(limit) = self.limits.cost_usd
            && spent >= limit
        {
            let message =
                format!("the run has cost {spent:.6} of the {limit} US dollars that its app allows");
            return Err(exceeded(message));
        }
        Ok(())
    }

    /// The same for a call that takes in `least_tokens` at least: refuses it if they alone are too much.
    pub(crate) fn check_call(
        &self,
        run: &RunContext,
        endpoint: &Endpoint,
        least_tokens: u64,
    ) -> Result<(), NodeError> {
        self.check_budget(run)?;
        let used = run.usage().total;
        let tokens = used.input_tokens + used.output_tokens;
        if let Some(limit) = self.limits.tokens
            && tokens + least_tokens > limit
        {
            return Err(exceeded(format!(
                "the run has used {tokens} of the {limit} tokens that its app allows, and the next call takes \
                 {least_tokens} at least"
            )));
        }
        let Some(limit) = self.limits.cost_usd else { return Ok(()) };
        // A limit that nobody holds is worse than none.
        let Some(price) = self.price(endpoint) else {
            return Err(exceeded(format!(
                "the app limits what a run may cost, but the price of `{}` is not known: add it to `prices` in app.yaml",
                endpoint.model
            )));
        };
        let next = price.cost(&ModelUsage { input_tokens: least_tokens, ..ModelUsage::default() });
        let spent = used.cost_nanodollars.unwrap_or(0);
        if dollars(spent + next) > limit {
            return Err(exceeded(format!(
                "the run has cost {:.6} of the {limit} US dollars that its app allows, and the next call costs {:.6} at \
                 least",
                dollars(spent),
                dollars(next)
            )));
        }
        Ok(())
    }
}

fn exceeded(message: String) -> NodeError {
    NodeError::new(BUDGET_EXCEEDED, message).lasting()
}

/// In US dollars.
fn dollars(nanodollars: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 9 million dollars")]
    let dollars = nanodollars as f64 / 1e9;
    dollars
}
