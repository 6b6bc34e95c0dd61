//! The built function with the test's own runtime API, on the embedded backend.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../../tests/lambda/data.rs"]
mod data;
#[path = "../../../../tests/lambda/runtime.rs"]
mod runtime;

use data::{created, store};
use runtime::{Function, embedded, event, of_run};
use runyard_embedded::Embedded;
use runyard_runs::{
    ClaimId, Clock, Field, Guard, Ids, RecordChange, RunId, RunStatus, RunStore, SystemClock, SystemIds,
};
use serde_json::{Value, json};
use std::time::Duration;

async fn status(store: &Embedded, run: RunId) -> RunStatus {
    store.runs().head(run).await.unwrap().unwrap().record.status
}

fn failed(answer: &Value) -> Vec<&str> {
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_message_fails_alone() {
    let data = tempfile::tempdir().unwrap();
    let store = store(data.path());
    let run = created(&store, Duration::from_mins(1)).await;
    let function = Function::start(env!("CARGO_BIN_EXE_worker"), &embedded(data.path())).await;
    let batch = event("queue", "batch-with-a-bad-message");
    let invalid = "22222222-0000-4000-8000-000000000000";
    assert_eq!(
        failed(&function.invoke(batch.clone()).await.unwrap()),
        [invalid],
        "messages of unknown runs are deleted"
    );
    let batch = of_run(&batch, &run.to_string());
    assert_eq!(failed(&function.invoke(batch.clone()).await.unwrap()), [invalid]);
    assert_eq!(status(&store, run).await, RunStatus::Completed);
    assert_eq!(
        failed(&function.invoke(batch).await.unwrap()),
        [invalid],
        "messages of ended runs are deleted"
    );
    let error = function.invoke(json!({ "no": "batch" })).await.unwrap_err();
    assert!(error["errorMessage"].as_str().unwrap().contains("Records"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_of_a_run_that_a_live_worker_holds_is_deleted() {
    let data = tempfile::tempdir().unwrap();
    let store = store(data.path());
    let run = created(&store, Duration::from_mins(1)).await;
    let due = Field::Set(SystemClock.now() + Duration::from_mins(1));
    let change =
        RecordChange { owner: Field::Set(ClaimId(SystemIds.random())), due, ..RecordChange::default() };
    store.runs().update(run, &change, &Guard::Always).await.unwrap();
    let function = Function::start(env!("CARGO_BIN_EXE_worker"), &embedded(data.path())).await;
    let mut batch = of_run(&event("queue", "batch-with-a-bad-message"), &run.to_string());
    batch["Records"].as_array_mut().unwrap().truncate(1);
    assert_eq!(failed(&function.invoke(batch).await.unwrap()), [""; 0]);
    assert_eq!(status(&store, run).await, RunStatus::Created, "the run was not taken over");
}
