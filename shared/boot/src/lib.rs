//! What every executable of Runyard does at its start, so that a `main` is a page.
//!
//! Promises: a bad environment variable is named, with what it should be; a deployed function polls the runtime API
//! before it opens a connection or reads a certificate; which backend there is, is decided here and nowhere else.
//!
//! Knows every crate that can be plugged, and no route, no event and no command: those are the executables' own.
//!
//! | module | what |
//! | --- | --- |
//! | `engine` | the engine, and the sandbox that runs its Python |
//! | `env` | reading the environment |
//! | `logs` | where log lines go |
//! | `metrics` | what operators count, as lines of CloudWatch's embedded metric format |
//! | `traces` | spans, to an OpenTelemetry collector (feature `lambda`) |
//! | `backend` | the ports, the use cases on them, and a sweep (feature `lambda`) |
//! | `lambda` | what functions share: their runtime, their time, their end (feature `lambda`) |

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

/// Becomes a job or a sandbox and never returns, if this process was started to be one: a job is this same executable, and
/// with the feature `python` so is a sandbox. The first thing in the `main` of whatever executes runs, before there is a
/// thread or a runtime.
pub fn enter_sandbox_if_asked() {
    runyard_sandbox::enter_job_if_asked(runyard_engine::perform);
    #[cfg(feature = "python")]
    runyard_sandbox::enter_if_asked();
}
