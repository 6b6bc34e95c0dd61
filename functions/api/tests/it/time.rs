//! Timing of a function: it streams events as they happen, hands runs over before its time ends, and obeys SIGTERM.

use crate::{runtime::event, start};
use runyard_embedded::{Embedded, Options};
use runyard_runs::{Clock, RunStore, SystemClock, SystemIds};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

/// Writes an app with two Python nodes that take `seconds` each.
fn slow_app(apps: &Path, seconds: f32) {
    let folder = apps.join("slow");
    std::fs::create_dir_all(&folder).unwrap();
    let app = "id: 5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009\nproject: 5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0002\n\
        organization: 5f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0001\nname: slow\nworkflow: {file: workflow.yaml}\n";
    std::fs::write(folder.join("app.yaml"), app).unwrap();
    let node = |name: &str, after: &str| {
        format!(
            "  {name}:\n    type: dynamiq.nodes.tools.Python\n    depends: [{{node: {after}}}]\n    code: |\n\
             \x20     import time\n      def run(inputs):\n          time.sleep({seconds})\n          return '{name}'\n"
        )
    };
    let workflow = format!(
        "nodes:\n  input:\n    type: dynamiq.nodes.utils.Input\n{}{}  output:\n    type: dynamiq.nodes.utils.Output\n    depends: [{{node: second}}]\n\
         flows:\n  slow:\n    nodes: [input, first, second, output]\nworkflows:\n  slow:\n    flow: slow\n    version: '1'\n",
        node("first", "input"),
        node("second", "first"),
    );
    std::fs::write(folder.join("workflow.yaml"), workflow).unwrap();
}

fn slow(name: &str) -> Value {
    let mut event = event("http", name);
    event["headers"]["host"] = "slow.localhost".into();
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_streamed_as_they_happen() {
    let apps = tempfile::tempdir().unwrap();
    slow_app(apps.path(), 0.5);
    let (function, _data) = start("stream", &[("RUNYARD_APPS", apps.path().to_str().unwrap())]).await;
    let answer = function.http(slow("create-run-stream")).await;
    let received = |text: &str| {
        let piece = answer.pieces.iter().find(|(_, piece)| piece.contains(text));
        piece.unwrap_or_else(|| panic!("no {text}: {answer:?}")).0
    };
    assert!(received("run.completed") > received("run.started") + Duration::from_millis(500), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_outlasts_its_invocation_is_handed_over() {
    let apps = tempfile::tempdir().unwrap();
    slow_app(apps.path(), 2.0);
    let (function, data) = start("stream", &[("RUNYARD_APPS", apps.path().to_str().unwrap())]).await;
    // Runs are handed over at half of a time below two minutes: the first node is done by then, the second one is not.
    let short = Duration::from_secs(6);
    let stream = function.begin(slow("create-run-stream"), short).http().await;
    assert!(stream.body.starts_with("id: 1\nevent: run.started\n"), "{stream:?}");
    assert!(!stream.body.contains("run.completed"), "{stream:?}");
    let path = stream.headers["location"].clone();
    let sync = function.begin(slow("create-run-sync"), short).http().await;
    assert_eq!(sync.json()["data"]["status"], "started", "not ended: {sync:?}");
    let store = Embedded::open(data.path(), Arc::new(SystemClock), &SystemIds, Options::default()).unwrap();
    // No lease is held once the function has answered, so that any worker can resume the run at once.
    for run in [path.rsplit('/').next().unwrap(), sync.json()["data"]["id"].as_str().unwrap()] {
        let head = store.runs().head(run.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(head.record.owner, None);
        let mut get = slow("get-run");
        get["rawPath"] = format!("/v1/runs/{run}").into();
        assert_eq!(function.http(get).await.json()["data"]["status"], json!("started"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_terminated_hands_its_run_over() {
    let apps = tempfile::tempdir().unwrap();
    slow_app(apps.path(), 20.0);
    let (mut function, data) = start("stream", &[("RUNYARD_APPS", apps.path().to_str().unwrap())]).await;
    let store = Embedded::open(data.path(), Arc::new(SystemClock), &SystemIds, Options::default()).unwrap();
    let mut stream = function.begin(slow("create-run-stream"), Duration::from_mins(15));
    stream.until("event: run.started").await;
    let held = store.runs().due(SystemClock.now() + Duration::from_mins(2), 10).await.unwrap();
    let run = held[0].1;
    assert!(store.runs().head(run).await.unwrap().unwrap().record.owner.is_some());
    let pid = function.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let began = Instant::now();
    assert!(function.process.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let record = store.runs().head(run).await.unwrap().unwrap().record;
    assert_eq!(record.owner, None, "a worker can resume the run at once");
    assert!(record.due.is_some_and(|due| due <= SystemClock.now()), "{record:?}");
}
