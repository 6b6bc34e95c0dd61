//! What functions share: their runtime, the time of an invocation, and their shutdown.

use crate::{
    Backend, Config,
    env::{BadVariable, Env},
    logs, traces,
};
use futures::{FutureExt, future::BoxFuture, future::Shared};
use lambda_runtime::Context;
use runyard_runs::Timestamp;
use std::{error::Error as StdError, future::pending, process, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// The maximum timeout of a function.
const MAX_TIMEOUT: Duration = Duration::from_mins(15);

/// Time before the end of an invocation to journal, hand over runs, and answer callers.
const RESERVE: Duration = Duration::from_mins(1);

/// Time to hand over runs when the process ends. A process with an internal extension is killed 500 ms after SIGTERM.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(400);

/// The deadlines of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// When runs are handed over: 60 s before the end, or at half time if less than 2 min are left.
    pub hand_over_at: Timestamp,
    /// When callers that still wait must be answered.
    pub answer_by: Timestamp,
}

impl Time {
    /// Computes the deadlines from the end that the platform reports.
    pub fn of(context: &Context, now: Timestamp) -> Self {
        let reported = Timestamp(i64::try_from(context.deadline).unwrap_or(i64::MAX));
        // `cargo lambda watch` always reports the same day of 1970.
        let end = if reported > now { reported } else { now + MAX_TIMEOUT };
        let reserve = RESERVE.min(end.since(now) / 2);
        Self { hand_over_at: end - reserve, answer_by: end - reserve / 4 }
    }
}

/// Returns whether this process handles one invocation at a time, and is suspended between two: all functions except those
/// on Lambda Managed Instances.
pub fn stands_still(env: &Env) -> Result<bool, BadVariable> {
    let concurrency: Option<u32> = env.parsed("AWS_LAMBDA_MAX_CONCURRENCY", "a number of invocations")?;
    Ok(concurrency.is_none_or(|concurrency| concurrency <= 1))
}

/// A backend that is opened while the runtime API is already polled. Cheap to clone.
#[derive(Clone)]
pub struct Opening(Shared<BoxFuture<'static, Backend>>);

impl Opening {
    /// Opening begins at the first call of [`Opening::backend`].
    fn new(config: Config) -> Self {
        let open = async move {
            match Backend::open(config).await {
                Ok(backend) => backend,
                Err(error) => {
                    tracing::error!(%error, "backend cannot be opened: the process exits");
                    process::exit(1)
                }
            }
        };
        // In a separate task, so that it does not depend on its first caller.
        let opened = async move { tokio::spawn(open).await.unwrap_or_else(|_| process::exit(1)) };
        Self(opened.boxed().shared())
    }

    /// Returns the backend once it is open. If it cannot be opened, the process exits.
    pub async fn backend(&self) -> Backend {
        self.0.clone().await
    }
}

/// Runs a function until the platform ends it: reads the environment, lets `serve` poll the runtime API, and opens the
/// backend at the same time. At the end, also on SIGTERM, hands over the runs that it executes.
pub fn run<F: Future<Output = Result<(), lambda_runtime::Error>>>(
    serve: impl FnOnce(Opening) -> F,
) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        logs::for_functions();
        let config = Config::from_env(&Env::of_process()).inspect_err(|error| tracing::error!(%error))?;
        register().await;
        let opening = Opening::new(config);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let begin = async {
            opening.backend().await;
            pending::<()>().await;
        };
        let served = tokio::select! {
            biased;
            served = serve(opening.clone()) => served,
            // Polled after `serve` has called the runtime API for the first time.
            () = begin => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        let handed_over = async { opening.backend().await.service.shut_down().await };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, handed_over).await.is_err() {
            tracing::warn!(
                "some runs were not handed over in time: they are taken over once their leases end"
            );
        }
        traces::flush().await;
        served
    })
}

/// Registers an extension without events: without any extension, the platform kills a process and sends no SIGTERM.
async fn register() {
    let extension = lambda_extension::Extension::new().with_events(&[]).with_extension_name("runyard");
    match extension.register().await {
        Ok(extension) => drop(tokio::spawn(async move {
            // No event ever arrives, but the platform requires the extension to ask for the next one.
            let _ = extension.run().await;
        })),
        Err(error) => tracing::debug!(%error, "extensions are not supported: the platform sends no SIGTERM"),
    }
}

#[cfg(test)]
mod tests {
    use super::Time;
    use lambda_runtime::Context;
    use runyard_runs::Timestamp;
    use std::time::Duration;

    #[test]
    fn runs_are_handed_over_a_minute_before_the_end() {
        let now = Timestamp(1_000_000);
        let within = |left: Duration| {
            let mut context = Context::default();
            context.deadline = u64::try_from((now + left).0).unwrap();
            let time = Time::of(&context, now);
            (time.hand_over_at.since(now).as_millis(), time.answer_by.since(now).as_millis())
        };
        assert_eq!(within(Duration::from_mins(15)), (840_000, 885_000), "14 min");
        assert_eq!(within(Duration::from_secs(29)), (14_500, 25_375));
        assert_eq!(within(Duration::ZERO), (840_000, 885_000), "if the platform reports no usable deadline");
    }
}
