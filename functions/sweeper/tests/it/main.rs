//! The built function with the test's own runtime API, on the embedded backend.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../../tests/lambda/data.rs"]
mod data;
#[path = "../../../../tests/lambda/runtime.rs"]
mod runtime;

use axum::{Json, Router, extract::State, routing::post};
use data::{created, store};
use runtime::{Function, embedded, event};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_event_starts_a_sweep() {
    let data = tempfile::tempdir().unwrap();
    let function = Function::start(env!("CARGO_BIN_EXE_sweeper"), &embedded(data.path())).await;
    for _ in 0..2 {
        let swept = function.invoke(event("schedule", "tick")).await.unwrap();
        assert_eq!(swept, json!({ "looked_at": 0, "requeued": 0, "failed": 0, "deleted": 0 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_run_is_requeued_for_a_worker() {
    let (delivered, mut messages) = mpsc::unbounded_channel();
    let worker = async |State(delivered): State<mpsc::UnboundedSender<Value>>, Json(batch): Json<Value>| {
        delivered.send(batch).unwrap();
        Json(json!({ "batchItemFailures": [] }))
    };
    let router = Router::new().route("/worker", post(worker)).with_state(delivered);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/worker", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let data = tempfile::tempdir().unwrap();
    let run = created(&store(data.path()), Duration::ZERO).await;
    let mut variables = embedded(data.path());
    variables.push(("RUNYARD_WORKER_URL", url));
    let function = Function::start(env!("CARGO_BIN_EXE_sweeper"), &variables).await;
    let swept = function.invoke(event("schedule", "tick")).await.unwrap();
    assert_eq!((&swept["looked_at"], &swept["requeued"]), (&json!(1), &json!(1)));
    let message = tokio::time::timeout(Duration::from_secs(10), messages.recv()).await.unwrap().unwrap();
    assert_eq!(message["Records"][0]["body"], run.to_string(), "{message}");
    assert_eq!(message["Records"][0]["eventSource"], "aws:sqs", "{message}");
}
