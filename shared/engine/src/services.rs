//! What nodes share beside the run: the ways to the outside, and how much may be spent there.

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
    /// What may not be told.
    pub(crate) secrets: Arc<Secrets>,
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
    pub(crate) fn price(&self, provider: &str, model: &str) -> Option<Price> {
        self.prices.get(model).copied().or_else(|| llm::public_price(provider, model))
    }

    /// Refuses a call to a model that would exceed what the app allows its runs; else counts it as if it used all that it
    /// may, while the reservation lives. Beside calls that may use up what is left, it waits for them.
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
        // A limit that nobody holds is worse than none.
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
        let least = spending(size.least_input, 0);
        let most = spending(size.likely_input, size.most_output);
        let reserved = run.reserve(most, |used, reserved| match reserved {
            None => self.check(used, least),
            Some(reserved) => self.check(used + reserved, most),
        });
        reserved.await.map(Some)
    }

    /// Whether a call that uses `next` fits into the limits beside what is `used`.
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
                "the run has used {tokens} of the {limit} tokens that its app allows, and the next call takes {} at \
                 least",
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
                "the run has cost {spent:.6} of the {limit} US dollars that its app allows, and the next call costs {:.6} \
                 at least",
                dollars(next.nanodollars)
            )));
        }
        Ok(())
    }
}

/// How large a call to a model is, in tokens, as far as it can be told before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSize {
    /// Surely no more than go in.
    least_input: u64,
    /// About as many as go in.
    likely_input: u64,
    /// As many come out at most, if the call says so; else 0.
    most_output: u64,
}

impl CallSize {
    /// By the bytes of the text that goes in. No tokenizer makes tokens longer than 8 of ordinary text; 4 are common.
    pub(crate) fn of(bytes: u64, most_output: Option<u64>) -> Self {
        Self { least_input: bytes / 8, likely_input: bytes / 4, most_output: most_output.unwrap_or(0) }
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
