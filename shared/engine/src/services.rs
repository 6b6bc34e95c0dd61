//! What nodes share beside the run: the ways to the outside, and how much may be spent there.

use crate::{
    egress::Http,
    flow::{Cache, NodeError},
    python::PythonRunner,
    vectors::Memory,
};
use runyard_runs::{Clock, Limits, MemoryStore, ProcessMemory, RunContext};
use std::{
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
    pub(crate) clock: Arc<dyn Clock>,
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
    /// Refuses a call to a model once the run has used what the app's limits allow.
    pub(crate) fn check_budget(&self, run: &RunContext) -> Result<(), NodeError> {
        let used = run.usage().total;
        if let Some(limit) = self.limits.tokens
            && used.input_tokens + used.output_tokens >= limit
        {
            let message = format!("the run has used the {limit} tokens that its app allows");
            return Err(NodeError::new(BUDGET_EXCEEDED, message).lasting());
        }
        Ok(())
    }
}
