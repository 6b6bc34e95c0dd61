//! `kill -9` at every append of an agent's run: nothing that the log has recorded is repeated.

use crate::{
    harness::{Home, PATIENCE, Server},
    outside::{AGENT, AGENT_APP, DONE, Outside},
};
use runyard_embedded::{Embedded, Options};
use runyard_runs::{RunStore, SystemClock, SystemIds};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn a_kill_at_any_append_repeats_at_most_the_call_in_flight() {
    let outside = Outside::start().await;
    let home = Home::new();
    home.app("clerk", AGENT_APP, AGENT);
    let environment = [("OUTSIDE", format!("http://{}", outside.address))];
    let mut server = home.start_in(&environment, "dev").await;

    let run = begin(&server).await;
    let (undisturbed, events) = end(&server, &run).await;
    assert_eq!(undisturbed, json!({"answer": DONE}));
    let once = outside.take();
    let steps = ["clerk 0", "clerk 1", "clerk 2", "clerk 3", "clerk 4", "customer", "pay", "writer 0"];
    assert_eq!(once.keys().map(String::as_str).collect::<Vec<_>>(), steps);
    assert!(once.values().all(|calls| calls.len() == 1), "{once:?}");
    let (store, _keep) = store(&home.data());
    let appends = entries(&*store, &run).await;
    assert!(appends >= 10, "an agent's run has many entries: {appends}");

    for append in 1..appends {
        let run = begin(&server).await;
        let watched = watch(&*store, &run, append, async || approve(&server, &run).await).await;
        server.kill().await;
        let done = outside.counts();
        server = home.start_in(&environment, "dev").await;
        let (output, again) = end(&server, &run).await;
        assert_eq!(output, undisturbed, "killed at append {append}");
        assert_eq!(again, events, "killed at append {append}");
        let calls = outside.take();
        assert_eq!(calls.keys().collect::<Vec<_>>(), once.keys().collect::<Vec<_>>(), "append {append}");
        let repeated: BTreeMap<_, _> = calls.iter().filter(|(_, calls)| calls.len() > 1).collect();
        assert!(
            repeated.len() <= 1 && repeated.values().all(|calls| calls.len() == 2),
            "killed at append {append} (seen: {watched}): {repeated:?}"
        );
        for (step, keys) in repeated {
            assert_eq!(done.get(step), Some(&1), "append {append}: {step} was in flight");
            assert_eq!(keys[0], keys[1], "append {append}: the same idempotency key");
        }
        assert!(!calls["pay"][0].is_empty(), "a payment has an idempotency key");
    }
}

async fn begin(server: &Server) -> String {
    let body = json!({"input": {"question": "My money?"}, "background": true});
    let (status, answer) = server.create("clerk", &body).await;
    assert_eq!(status, 202, "{answer}");
    answer["data"]["id"].as_str().unwrap().to_owned()
}

/// Approves the run's open request, with another amount. Returns whether there was one.
pub(crate) async fn approve(server: &Server, run: &str) -> bool {
    let (_, answer) = server.get("clerk", &format!("/v1/runs/{run}")).await;
    let Some(request) = answer["data"]["input_requests"][0]["id"].as_str() else { return false };
    let data = json!({"request_id": request, "approved": true, "params": {"data": {"amount": 450}}});
    let path = format!("/v1/runs/{run}/input");
    let answer = server.request("POST", "clerk", &path).json(&json!({"type": "approval", "data": data}));
    assert_eq!(answer.send().await.unwrap().status(), 200);
    true
}

/// Waits until the run completes; returns its output, and its events without ids, which differ between runs.
pub(crate) async fn end(server: &Server, run: &str) -> (Value, Vec<Value>) {
    let started = Instant::now();
    loop {
        let (_, answer) = server.get("clerk", &format!("/v1/runs/{run}")).await;
        match answer["data"]["status"].as_str() {
            Some("awaiting_input") => drop(approve(server, run).await),
            Some("completed") => break,
            Some("failed" | "canceled") => panic!("{answer}"),
            _ => sleep(Duration::from_millis(20)).await,
        }
        assert!(started.elapsed() < PATIENCE, "still {answer}: {}", server.log());
    }
    let events = server.whole_log("clerk", run).await;
    let output = events.last().unwrap()["data"]["output"].clone();
    let comparable = events.into_iter().filter(|event| !is_of_workers(event)).map(|event| {
        let mut comparable = json!({"type": event["type"], "data": event["data"]});
        let data = comparable["data"].as_object_mut().unwrap();
        data.retain(|key, _| !matches!(key.as_str(), "id" | "request_id"));
        if let Some(request) = data.get_mut("request").and_then(Value::as_object_mut) {
            request.remove("id");
        }
        comparable
    });
    (output, comparable.collect())
}

/// Returns whether an event is about workers, which differ between executions, and not about the run's work.
fn is_of_workers(event: &Value) -> bool {
    matches!(event["type"].as_str(), Some("run.started" | "run.resumed" | "run.paused" | "run.checkpoint"))
}

/// Opens the store of a data directory that a server uses at the same time.
pub(crate) fn store(data: &Path) -> (Arc<dyn RunStore>, Embedded) {
    let embedded = Embedded::open(data, Arc::new(SystemClock), &SystemIds, Options::default()).unwrap();
    (embedded.runs(), embedded)
}

async fn entries(store: &dyn RunStore, run: &str) -> usize {
    let log = store.read(run.parse().unwrap(), 1).await.unwrap();
    log.map_or(0, |log| log.entries.len())
}

/// Waits until the run has at least `enough` entries, and answers its open requests; returns the number of its entries.
pub(crate) async fn watch(
    store: &dyn RunStore,
    run: &str,
    enough: usize,
    answer: impl AsyncFn() -> bool,
) -> usize {
    let started = Instant::now();
    let mut answered = false;
    let mut before = (0, Instant::now());
    loop {
        let seen = entries(store, run).await;
        if seen >= enough {
            return seen;
        }
        if seen != before.0 {
            before = (seen, Instant::now());
        } else if !answered && before.1.elapsed() > Duration::from_millis(300) {
            answered = answer().await;
        }
        assert!(started.elapsed() < PATIENCE, "{seen} entries of {enough}");
        sleep(Duration::from_millis(1)).await;
    }
}
