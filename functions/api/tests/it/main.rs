//! The built function with the test's own runtime API, on the embedded backend.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod events;
#[path = "../../../../tests/lambda/runtime.rs"]
mod runtime;
mod time;
mod traces;

use runtime::{Function, embedded};
use tempfile::TempDir;

/// Starts the function in `role`; returns it and its data directory.
async fn start(role: &str, more: &[(&'static str, &str)]) -> (Function, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let mut variables = embedded(data.path());
    variables.push(("RUNYARD_ROLE", role.to_owned()));
    variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    (Function::start(env!("CARGO_BIN_EXE_api"), &variables).await, data)
}
