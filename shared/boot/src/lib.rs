//! What every executable of Runyard does at its start, so that a `main` is short.
//!
//! Promises: the error for an invalid environment variable names it and what it must be; a deployed function polls the
//! runtime API before it opens a connection or reads a certificate; the backend is selected here and nowhere else.
//!
//! Knows every crate that an executable can be made of, but no routes, events or commands: those belong to the executables.
//!
//! | module | purpose |
//! | --- | --- |
//! | `engine` | the engine, and the sandbox that runs its Python |
//! | `env` | reading the environment |
//! | `logs` | where log lines go |
//! | `metrics` | metrics, as lines in CloudWatch's embedded metric format |
//! | `printable` | untrusted text on terminals and in logs |
//! | `traces` | spans, to an OpenTelemetry collector (feature `lambda`) |
//! | `backend` | the ports, the use cases on them, and a sweep (feature `lambda`) |
//! | `lambda` | what functions share: runtime, deadlines, shutdown (feature `lambda`) |

#[cfg(feature = "lambda")]
mod backend;
#[cfg(feature = "embedded")]
mod embedded;
pub mod engine;
pub mod env;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod logs;
#[cfg(feature = "lambda")]
mod metrics;
pub mod printable;
#[cfg(feature = "lambda")]
pub mod traces;

#[cfg(feature = "lambda")]
pub use backend::{Backend, Config, Error};

/// Becomes a job or a sandbox, and does not return, if this process was started as one: a job is a process of the same
/// executable, and with the feature `python` so is a sandbox. Must be the first call in the `main` of every executable that
/// executes runs, before there is a thread or a runtime.
pub fn enter_sandbox_if_asked() {
    runyard_sandbox::enter_job_if_asked(runyard_engine::perform);
    #[cfg(feature = "python")]
    runyard_sandbox::enter_if_asked();
}
