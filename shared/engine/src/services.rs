//! What nodes share in addition to the run: access to the outside, and its budgets.

use crate::{
    egress::Http,
    flow::{Cache, NodeError},
    job::JobRunner,
    llm,
    python::PythonRunner,
    secrets::Secrets,
    vectors::Memory,
};
use runyard_runs::{
    Limits, MemoryStore, ModelUsage, Price, ProcessMemory, Reservation, RunContext, Spending,
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

/// The services of one app.
pub(crate) struct Services {
    pub(crate) python: Arc<dyn PythonRunner>,
    pub(crate) jobs: Arc<dyn JobRunner>,
    pub(crate) http: Http,
    /// The app's secrets, to mask in outputs, errors and events.
    pub(crate) secrets: Arc<Secrets>,
    /// Documents that are stored in memory, for all apps.
    pub(crate) documents: Arc<Memory>,
    pub(crate) limits: Limits,
    /// By model name.
    pub(crate) prices: BTreeMap<String, Price>,
    /// `None` if the app does not cache outputs.
    pub(crate) cache: Option<Cache>,
    /// The store of what agents remember between runs.
    pub(crate) memories: Memories,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The store of agents' memories: one in this process, unless another is set before its first use.
#[derive(Clone, Default)]
pub(crate) struct Memories(Arc<OnceLock<Arc<dyn MemoryStore>>>);

impl Memories {
    /// Sets the store. Has no effect if one is set or in use.
    pub(crate) fn set(&self, store: Arc<dyn MemoryStore>) {
        let _ = self.0.set(store);
    }

    pub(crate) fn store(&self) -> &dyn MemoryStore {
        &**self.0.get_or_init(|| Arc::new(ProcessMemory::default()))
    }
}

/// Error kind of a run that has used up a budget of its app.
pub(crate) const BUDGET_EXCEEDED: &str = "BudgetExceededError";

impl Services {
    /// The price of a model: the one in `app.yaml`, else its public price.
    pub(crate) fn price(&self, provider: &str, model: &str) -> Option<Price> {
        self.prices.get(model).copied().or_else(|| llm::public_price(provider, model))
    }

    /// Refuses a call to a model that would exceed the app's budgets. Otherwise reserves the maximum that the call may use,
    /// until the reservation is dropped. If reservations of other calls might use up the rest, waits for them.
    pub(crate) async fn reserve(
        &self,
        run: &RunContext,
        model: &str,
        price: Option<Price>,
        size: CallSize,
    ) -> Result<Option<Reservation>, NodeError> {
        let limits = &self.limits;
        if limits.tokens.is_none() && limits.cost_usd.is_none() {
            return Ok(None);
        }
        // A limit that is not enforced is worse than none.
        if limits.cost_usd.is_some() && price.is_none() {
            return Err(exceeded(format!(
                "the app limits what a run may cost, but the price of `{model}` is not known: add it to `prices` in app.yaml"
            )));
        }
        let spending = |input_tokens: u64, output_tokens: u64| {
            let usage = ModelUsage { input_tokens, output_tokens, ..ModelUsage::default() };
            Spending {
                tokens: input_tokens.saturating_add(output_tokens),
                nanodollars: price.map_or(0, |price| price.cost(&usage)),
            }
        };
        let min = spending(size.min_input, 0);
        let max = spending(size.likely_input, size.max_output);
        let reserved = run.reserve(max, |used, reserved| match reserved {
            None => self.check(used, min),
            Some(reserved) => self.check(used + reserved, max),
        });
        reserved.await.map(Some)
    }

    /// Checks that a call that uses `next` fits into the limits in addition to `used`.
    fn check(&self, used: Spending, next: Spending) -> Result<(), NodeError> {
        let (tokens, spent) = (used.tokens, dollars(used.nanodollars));
        if let Some(limit) = self.limits.tokens
            && tokens >= limit
        {
            return Err(exceeded(format!("the run has used the {limit} tokens that its app allows")));
        }
        if let Some(limit) = self.limits.tokens
            && tokens + next.tokens > limit
        {
            return Err(exceeded(format!(
                "the run has used {tokens} of the {limit} tokens that its app allows, and the next call needs at \
                 least {}",
                next.tokens
            )));
        }
        if let Some(limit) = self.limits.cost_usd
            && spent >= limit
        {
            return Err(exceeded(format!(
                "the run has cost {spent:.6} of the {limit} US dollars that its app allows"
            )));
        }
        if let Some(limit) = self.limits.cost_usd
            && dollars((used + next).nanodollars) > limit
        {
            return Err(exceeded(format!(
                "the run has cost {spent:.6} of the {limit} US dollars that its app allows, and the next call costs at \
                 least {:.6}",
                dollars(next.nanodollars)
            )));
        }
        Ok(())
    }
}

/// The size of a call to a model, in tokens, as estimated before the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSize {
    /// Lower bound of the input tokens.
    min_input: u64,
    /// Estimate of the input tokens.
    likely_input: u64,
    /// The call's limit on output tokens, 0 if it has none.
    max_output: u64,
}

impl CallSize {
    /// Estimates by the bytes of the input text. In ordinary text, no tokenizer's tokens are longer than 8 bytes; 4 are
    /// common.
    pub(crate) fn of(bytes: u64, max_output: Option<u64>) -> Self {
        Self { min_input: bytes / 8, likely_input: bytes / 4, max_output: max_output.unwrap_or(0) }
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
