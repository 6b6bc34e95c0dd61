//! The built function on a runtime API of the test's own, on the embedded backend.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod events;
#[path = "../../../../tests/lambda/runtime.rs"]
mod runtime;
mod time;
mod traces;

use runtime::{Function, embedded};
use tempfile::TempDir;

/// The function, answering in `role`, and its data.
async fn start(role: &str, more: &[(&'static str, &str)]) -> (Function, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let mut variables = embedded(data.path());
    variables.push(("RUNYARD_ROLE", role.to_owned()));
    variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    (Function::start(env!("CARGO_BIN_EXE_api"), &variables).await, data)
}
