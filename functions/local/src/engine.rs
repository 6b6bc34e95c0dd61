//! The engine, and the sandbox that runs its Python.

use anyhow::Result;
use async_trait::async_trait;
use runyard_engine::{Engine, EngineConfig, PythonError, PythonRunner};
use runyard_sandbox::{Arguments, Config, Error, Sandbox};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

/// What workflows may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The environment variables and the hosts that `app.yaml` lists: for a server.
    Listed,
    /// Loopback addresses too: on a developer's machine.
    Loopback,
    /// As a server elsewhere, whose environment is not known here: what is not set stands for itself. For checks alone.
    #[cfg(feature = "aws")]
    Elsewhere,
    /// Loopback addresses and every environment variable: for a user's own file in the user's own shell.
    Everything,
}

/// For code without a limit of its own: the run's limit comes first.
const LONGEST: Duration = Duration::from_hours(24);

/// An engine. Its sandbox is started by the first code that needs it.
pub(crate) fn start(reach: Reach) -> Arc<Engine> {
    let unset = move |name: &str| match reach {
        #[cfg(feature = "aws")]
        Reach::Elsewhere => Some(format!("<{name}>")),
        _ => None,
    };
    Arc::new(Engine::new(EngineConfig {
        python: Arc::new(Python(Sandbox::new(Config::default()))),
        env: Arc::new(move |_, name| Ok(std::env::var(name).ok().or_else(|| unset(name)))),
        allow_loopback: matches!(reach, Reach::Loopback | Reach::Everything),
        any_env: reach == Reach::Everything,
    }))
}

struct Python(Sandbox);

#[async_trait]
impl PythonRunner for Python {
    async fn run(
        &self,
        code: &str,
        input: &Map<String, Value>,
        as_keywords: bool,
        timeout: Option<Duration>,
    ) -> Result<Value, PythonError> {
        let arguments = if as_keywords { Arguments::Named } else { Arguments::One };
        self.0.run(code, input, arguments, timeout.unwrap_or(LONGEST)).await.map_err(|error| match error {
            Error::Timeout => PythonError::TimedOut,
            Error::Unavailable(cause) => PythonError::Broken(format!("it cannot be started: {cause}")),
            error @ Error::Crashed(_) => PythonError::Broken(error.to_string()),
            error => PythonError::Raised(error.to_string()),
        })
    }
}
