//! The engine, and the sandbox that runs its Python.

use async_trait::async_trait;
use runyard_engine::{
    Engine, EngineConfig, JobError, JobRunner, JobTurn, PythonError, PythonRunner, ReadEnv,
};
use runyard_runs::{App, AppId};
use runyard_sandbox::{Arguments, Config, Error, JobConfig, Jobs, Sandbox};
use serde_json::{Map, Value};
use std::{io, path::PathBuf, sync::Arc, time::Duration};

/// The variables and addresses that workflows may access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The environment variables and the hosts that `app.yaml` lists: for a server.
    Listed,
    /// As `Listed`, and loopback addresses: for a developer's machine.
    Loopback,
    /// As a server elsewhere, whose environment is unknown here: an unset variable has a placeholder. Only for checks.
    Elsewhere,
    /// Loopback addresses and every environment variable: for a user's own file in the user's own shell.
    Everything,
}

/// Timeout of code that has none: the run's limit ends it earlier.
const MAX_TIMEOUT: Duration = Duration::from_hours(24);

/// Path of the interpreter in the layer of `functions/python`: Lambda unpacks layers to `/opt`.
const LAYER: &str = "/opt/bin/runyard-python";

/// `ENOEXEC`, which has no `io::ErrorKind`.
const NOT_EXECUTABLE: i32 = 8;

/// Creates an engine. The first code that needs the sandbox starts it. Every app may call `allow_hosts`, even if they resolve
/// to private addresses.
pub fn start(reach: Reach, allow_hosts: Vec<String>) -> Arc<Engine> {
    let unset = move |name: &str| (reach == Reach::Elsewhere).then(|| format!("<{name}>"));
    start_with(
        reach,
        allow_hosts,
        Arc::new(move |app, name| Ok(of_process(app, name)?.or_else(|| unset(name)))),
    )
}

/// Returns an environment variable of this process.
///
/// # Errors
///
/// Never; the signature is that of [`ReadEnv`], whose other implementations can fail.
pub fn of_process(_: &App, name: &str) -> Result<Option<String>, String> {
    Ok(std::env::var(name).ok())
}

/// [`start`], but an app gets its variables from `env`.
pub fn start_with(reach: Reach, allow_hosts: Vec<String>, env: ReadEnv) -> Arc<Engine> {
    let program = (!cfg!(feature = "python")).then(|| PathBuf::from(LAYER));
    let config = EngineConfig {
        python: Arc::new(Python(Sandbox::new(Config { program, ..Config::default() }))),
        jobs: Arc::new(Processes(Jobs::new(JobConfig::default()))),
        env,
        allow_loopback: matches!(reach, Reach::Loopback | Reach::Everything),
        any_env: reach == Reach::Everything,
    };
    Arc::new(Engine::new(config).allowing(allow_hosts))
}

struct Python(Sandbox);

#[async_trait]
impl PythonRunner for Python {
    async fn run(
        &self,
        app: AppId,
        code: &str,
        input: &Map<String, Value>,
        as_keywords: bool,
        timeout: Option<Duration>,
    ) -> Result<Value, PythonError> {
        let arguments = if as_keywords { Arguments::Named } else { Arguments::One };
        let timeout = timeout.unwrap_or(MAX_TIMEOUT);
        self.0.run(app.0.as_u128(), code, input, arguments, timeout).await.map_err(|error| match error {
            Error::Timeout => PythonError::TimedOut,
            Error::Unavailable(cause) => PythonError::Broken(unavailable(&cause)),
            error @ Error::Crashed(_) => PythonError::Broken(error.to_string()),
            error => PythonError::Raised(error.to_string()),
        })
    }
}

/// Runs jobs in processes of the current executable, whose `main` begins with `enter_sandbox_if_asked`.
struct Processes(Jobs);

#[async_trait]
impl JobRunner for Processes {
    async fn turn(&self, app: AppId) -> Result<Box<dyn JobTurn>, JobError> {
        Ok(Box::new(Turn(self.0.turn(app.0.as_u128()).await)))
    }
}

struct Turn(runyard_sandbox::JobTurn);

#[async_trait]
impl JobTurn for Turn {
    async fn run(self: Box<Self>, job: &str, input: Vec<u8>) -> Result<Vec<u8>, JobError> {
        use runyard_sandbox::JobError as Theirs;

        self.0.run(job, &input).await.map_err(|error| match error {
            Theirs::Timeout { limit } => JobError::TimedOut { seconds: limit.as_secs_f64() },
            Theirs::Memory { limit } => JobError::Memory { bytes: limit },
            Theirs::Output { limit } => JobError::Output { bytes: limit as u64 },
            Theirs::Crashed(why) => JobError::Crashed(why),
            Theirs::Unavailable(cause) => JobError::Broken(format!("a process cannot be started: {cause}")),
        })
    }
}

/// Returns the error of a sandbox that cannot be started, with what an operator can do.
fn unavailable(cause: &io::Error) -> String {
    let advice = match cause.kind() {
        io::ErrorKind::NotFound => {
            "deploy the stack with `Python=true`: the layer with the interpreter is missing"
        }
        _ if cause.raw_os_error() == Some(NOT_EXECUTABLE) => {
            "the layer was built for another architecture: set `RUNYARD_ARCHITECTURE` for `sam build`"
        }
        _ => return format!("it cannot be started: {cause}"),
    };
    format!("it cannot be started: {cause}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_a_layer_that_is_missing_or_of_another_architecture() {
        let of = |number| unavailable(&io::Error::from_raw_os_error(number));
        assert!(of(2).contains("`Python=true`"), "{}", of(2));
        assert!(of(8).contains("`RUNYARD_ARCHITECTURE`"), "{}", of(8));
        assert!(!of(12).contains("layer"), "{}", of(12));
    }
}
