//! Computations that an author's file or a caller's input can make long: templates, expressions, selectors, patterns.
//!
//! Promises: a computation never holds an async thread for longer than about a millisecond; it ends within its budget of
//! steps and bytes, or fails its node with `limit_exceeded`, and names the limit; it stops soon after nobody waits for it
//! any longer; and the computations of one app do not delay those of others.
//!
//! A computation is tried where it is, within [`HERE`]: that is enough for nearly all of them, and costs neither an
//! allocation nor a lock. What needs more begins again on a thread of the [pool](pool), within [`WHOLE`].
//!
//! Code within a computation says what it does by [`step`], and by [`make`] *before* it allocates what somebody else
//! chose the size of. Both count in the current thread, so that neither filters nor formatting have to be handed a
//! meter. Once one of them has failed, all later ones fail too, and the computation fails whatever it returns: code that
//! cannot return an error just stops early.

mod meter;
mod pool;

pub(crate) use meter::{Exceeded, HERE, WHOLE, copy, exceed, left, make, step, visit, walk};

use crate::flow::NodeError;
use meter::Limits;
use pool::Pool;
use runyard_runs::RunContext;
use std::sync::LazyLock;

/// Threads are a resource of the process, so all engines share them.
static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new(pool::threads()));

/// Runs a computation: `here` within a small budget, or else, from its beginning, what `away` gives on another thread.
///
/// `what` names it where it exceeds its budget: `the template`.
pub(crate) async fn run<T, J>(
    run: &RunContext,
    what: &'static str,
    here: impl FnOnce() -> Result<T, NodeError>,
    away: impl FnOnce() -> J,
) -> Result<T, NodeError>
where
    T: Send + 'static,
    J: FnOnce() -> Result<T, NodeError> + Send + 'static,
{
    if let Some(result) = attempt(here) {
        return result;
    }
    POOL.run(run.new_run().app, what, WHOLE, away()).await
}

/// What a computation gives within the small budget; nothing if it needs more. For what cannot wait.
pub(crate) fn attempt<T>(here: impl FnOnce() -> Result<T, NodeError>) -> Option<Result<T, NodeError>> {
    meter::within(Limits { budget: HERE, stop: None }, here).ok()
}

/// Runs a computation of a fuzz target: within a tenth of the steps, since instrumented code takes several times as long.
///
/// # Panics
///
/// If the computation does, which elsewhere only fails its node.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzed<T>(job: impl FnOnce() -> Result<T, NodeError>) -> Result<T, NodeError> {
    let budget = meter::Budget { steps: WHOLE.steps / 10, ..WHOLE };
    let ended = meter::within(Limits { budget, stop: None }, job)
        .unwrap_or_else(|exceeded| Err(exceeded.error("the computation")));
    if let Err(error) = &ended {
        assert_ne!(*error, meter::panicked(), "a computation panicked");
    }
    ended
}

/// Runs a computation within the whole budget where it is: for what cannot wait.
pub(crate) fn whole<T>(what: &str, job: impl FnOnce() -> Result<T, NodeError>) -> Result<T, NodeError> {
    meter::within(Limits { budget: WHOLE, stop: None }, job)
        .unwrap_or_else(|exceeded| Err(exceeded.error(what)))
}
