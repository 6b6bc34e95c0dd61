//! What functions share: their runtime, the time of an invocation, and their end.

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

/// The longest time-out that a function can have.
const LONGEST: Duration = Duration::from_mins(15);

/// What an executor gets to journal and to give its run back, and a caller to be answered, before an invocation ends.
const RESERVE: Duration = Duration::from_mins(1);

/// For runs to be handed over at the end of the process. A process with an internal extension is killed 500 ms after
/// SIGTERM.
const LAST: Duration = Duration::from_millis(400);

/// The time of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Then runs are handed over, 60 s before the end; at half time where a function has less than 2 min.
    pub hand_over_at: Timestamp,
    /// Then whoever waits must be answered.
    pub answer_by: Timestamp,
}

impl Time {
    /// What the platform says.
    pub fn of(context: &Context, now: Timestamp) -> Self {
        let told = Timestamp(i64::try_from(context.deadline).unwrap_or(i64::MAX));
        // `cargo lambda watch` tells the same day of 1970 each time.
        let end = if told > now { told } else { now + LONGEST };
        let reserve = RESERVE.min(end.since(now) / 2);
        Self { hand_over_at: end - reserve, answer_by: end - reserve / 4 }
    }
}

/// Whether this process takes one invocation at a time, and stands still between two: all but those on Lambda Managed
/// Instances.
pub fn stands_still(env: &Env) -> Result<bool, BadVariable> {
    let at_once: Option<u32> = env.parsed("AWS_LAMBDA_MAX_CONCURRENCY", "a number of invocations")?;
    Ok(at_once.is_none_or(|at_once| at_once <= 1))
}

/// A backend that is being opened while the runtime API is polled already. Cheap to clone.
#[derive(Clone)]
pub struct Opening(Shared<BoxFuture<'static, Backend>>);

impl Opening {
    /// It begins when it is first waited for.
    fn new(config: Config) -> Self {
        let open = async move {
            match Backend::open(config).await {
                Ok(backend) => backend,
                Err(error) => {
                    tracing::error!(%error, "there is no backend: the process ends");
                    process::exit(1)
                }
            }
        };
        // In a task of its own, beside whatever its first waiter does.
        let opened = async move { tokio::spawn(open).await.unwrap_or_else(|_| process::exit(1)) };
        Self(opened.boxed().shared())
    }

    /// The backend, once it is open. Where it cannot be, the process has ended.
    pub async fn backend(&self) -> Backend {
        self.0.clone().await
    }
}

/// Runs a function until the platform ends it: reads the environment, has `serve` poll the runtime API, and opens the backend
/// meanwhile. At the end, also on SIGTERM, runs under way go back to the log.
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
            // After the runtime API was asked for the first time.
            () = begin => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        let handed_over = async { opening.backend().await.service.shut_down().await };
        if tokio::time::timeout(LAST, handed_over).await.is_err() {
            tracing::warn!(
                "some runs were not handed over in time: they are taken over once their leases end"
            );
        }
        traces::flush().await;
        served
    })
}

/// Registers an extension that asks for no event: without one the platform kills a process and sends no SIGTERM.
async fn register() {
    let extension = lambda_extension::Extension::new().with_events(&[]).with_extension_name("runyard");
    match extension.register().await {
        Ok(extension) => drop(tokio::spawn(async move {
            // It waits for what never comes; the platform wants it asked for all the same.
            let _ = extension.run().await;
        })),
        Err(error) => tracing::debug!(%error, "this platform takes no extension, and sends no SIGTERM"),
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
        assert_eq!(within(Duration::ZERO), (840_000, 885_000), "where the platform tells nothing of use");
    }
}
