//! The built function on a runtime API of the test's own, on the embedded backend.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../../tests/lambda/runtime.rs"]
mod runtime;

use runtime::{Function, embedded, event};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_sweeps() {
    let data = tempfile::tempdir().unwrap();
    let function = Function::start(env!("CARGO_BIN_EXE_sweeper"), &embedded(data.path())).await;
    for _ in 0..2 {
        let swept = function.invoke(event("schedule", "tick")).await.unwrap();
        assert_eq!(swept, json!({ "looked_at": 0, "requeued": 0, "failed": 0, "deleted": 0 }));
    }
}
