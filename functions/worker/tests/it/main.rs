//! The built function on a runtime API of the test's own, on the embedded backend.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../../tests/lambda/runtime.rs"]
mod runtime;

use runtime::{Function, embedded, event, of_run};
use runyard_embedded::{Apps, Embedded, Options};
use runyard_runs::{
    AppStore, Guard, NewRun, Record, RecordChange, RunId, RunStatus, RunStore, SystemClock, SystemIds,
};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};

/// The backend, as another function has it open.
fn store(data: &Path) -> Embedded {
    Embedded::open(data, Arc::new(SystemClock), &SystemIds, Options::default()).unwrap()
}

/// A run of `echo`, as `api` would have created it.
async fn created(store: &Embedded) -> RunId {
    use runyard_runs::{Clock, Ids};
    let (apps, problems) = Apps::open(&runtime::root().join("apps"), store, Some("echo".to_owned())).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    let app = apps.by_host("").await.unwrap().unwrap();
    let now = SystemClock.now();
    let new = NewRun {
        id: RunId(SystemIds.ordered()),
        app: app.id,
        app_version: app.version.clone(),
        created_at: now,
        expires_at: now + app.lifetime(),
        input: json!({ "message": "hello" }).as_object().unwrap().clone(),
        user_id: None,
        session_id: None,
        metadata: std::collections::BTreeMap::new(),
        files: Vec::new(),
    };
    let record = Record {
        upto: 0,
        status: RunStatus::Created,
        unanswered: false,
        ended_at: None,
        owner: None,
        due: Some(now + Duration::from_mins(1)),
        attempts: 0,
        attempts_at: 0,
        rev: 0,
    };
    store.runs().create(&new, &record).await.unwrap();
    new.id
}

async fn status(store: &Embedded, run: RunId) -> RunStatus {
    store.runs().head(run).await.unwrap().unwrap().record.status
}

fn failed(answer: &Value) -> Vec<&str> {
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_fails_alone() {
    let data = tempfile::tempdir().unwrap();
    let store = store(data.path());
    let run = created(&store).await;
    let function = Function::start(env!("CARGO_BIN_EXE_worker"), &embedded(data.path())).await;
    let batch = event("queue", "batch-with-a-bad-message");
    let bad = "22222222-0000-4000-8000-000000000000";
    assert_eq!(
        failed(&function.invoke(batch.clone()).await.unwrap()),
        [bad],
        "runs that are not there are done"
    );
    let batch = of_run(&batch, &run.to_string());
    assert_eq!(failed(&function.invoke(batch.clone()).await.unwrap()), [bad]);
    assert_eq!(status(&store, run).await, RunStatus::Completed);
    assert_eq!(failed(&function.invoke(batch).await.unwrap()), [bad], "a run that has ended is done");
    let error = function.invoke(json!({ "no": "batch" })).await.unwrap_err();
    assert!(error["errorMessage"].as_str().unwrap().contains("Records"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_live_worker_holds_is_done() {
    use runyard_runs::{ClaimId, Clock, Field, Ids};
    let data = tempfile::tempdir().unwrap();
    let store = store(data.path());
    let run = created(&store).await;
    let due = Field::Set(SystemClock.now() + Duration::from_mins(1));
    let change =
        RecordChange { owner: Field::Set(ClaimId(SystemIds.random())), due, ..RecordChange::default() };
    store.runs().update(run, &change, &Guard::Always).await.unwrap();
    let function = Function::start(env!("CARGO_BIN_EXE_worker"), &embedded(data.path())).await;
    let mut batch = of_run(&event("queue", "batch-with-a-bad-message"), &run.to_string());
    batch["Records"].as_array_mut().unwrap().truncate(1);
    assert_eq!(failed(&function.invoke(batch).await.unwrap()), [""; 0]);
    assert_eq!(status(&store, run).await, RunStatus::Created, "nobody took it from who holds it");
}
