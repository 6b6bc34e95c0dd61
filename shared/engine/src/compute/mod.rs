//! Computations whose length an author's file or a caller's input controls: templates, expressions, selectors,
//! patterns.
//!
//! Promises:
//!
//! - A computation blocks an async thread for at most about a millisecond.
//! - It ends within its budget of steps and bytes, or fails its node with `limit_exceeded` and names the limit.
//! - It stops soon after it is canceled.
//! - The computations of one app do not delay those of others.
//!
//! A computation first runs on the calling thread, within [`INLINE_BUDGET`]. That suffices for nearly all computations, and
//! needs neither an allocation nor a lock. One that needs more starts again on a thread of the [pool](pool), within
//! [`FULL_BUDGET`].
//!
//! Code in a computation calls [`step`] for its work, and [`make`] *before* an allocation whose size it does not
//! control. Both use a thread-local meter, so that filters and formatting need no extra parameter. Once a call has
//! failed, all later calls fail too, and the computation fails whatever it returns: code that cannot return an error
//! stops early.

mod meter;
mod pool;

pub(crate) use meter::{Exceeded, FULL_BUDGET, INLINE_BUDGET, copy, exceed, left, make, step, visit, walk};

use crate::flow::NodeError;
use meter::Limits;
use pool::Pool;
use runyard_runs::RunContext;
use std::sync::LazyLock;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Shared by all engines: threads are a resource of the process.
static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new(pool::threads()));

/// Runs a computation: `here` within a small budget. If that does not suffice, runs the job that `away` returns on
/// another thread, from the beginning.
///
/// `what` names the computation in errors, as in `the template`.
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
    POOL.run(run.new_run().app, what, FULL_BUDGET, away()).await
}

/// Runs a computation within the small budget; `None` if it needs more. For code that cannot wait.
pub(crate) fn attempt<T>(here: impl FnOnce() -> Result<T, NodeError>) -> Option<Result<T, NodeError>> {
    meter::within(Limits { budget: INLINE_BUDGET, stop: None }, here).ok()
}

/// Runs a job of many milliseconds in code that is not async. On a multi-threaded runtime, another thread takes over
/// the tasks of this one.
pub(crate) fn block_in_place<T>(job: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(job),
        _ => job(),
    }
}

/// Runs a job, by [`block_in_place`] if it `is_long`.
pub(crate) fn block_if<T>(is_long: bool, job: impl FnOnce() -> T) -> T {
    if is_long { block_in_place(job) } else { job() }
}

/// Runs a computation of a fuzz target: within a tenth of the steps, since instrumented code takes several times as long.
///
/// # Panics
///
/// If the computation does, which elsewhere only fails its node.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzed<T>(job: impl FnOnce() -> Result<T, NodeError>) -> Result<T, NodeError> {
    let budget = meter::Budget { steps: FULL_BUDGET.steps / 10, ..FULL_BUDGET };
    let ended = meter::within(Limits { budget, stop: None }, job)
        .unwrap_or_else(|exceeded| Err(exceeded.error("the computation")));
    if let Err(error) = &ended {
        assert_ne!(*error, meter::panicked(), "a computation panicked");
    }
    ended
}

/// Runs a computation within the whole budget on the current thread, which must not be an async one.
pub(crate) fn whole<T>(what: &str, job: impl FnOnce() -> Result<T, NodeError>) -> Result<T, NodeError> {
    meter::within(Limits { budget: FULL_BUDGET, stop: None }, job)
        .unwrap_or_else(|exceeded| Err(exceeded.error(what)))
}
