//! Canceling a run in any state: within 2 s it makes no further calls, and its open connections are closed.

use crate::{
    harness::{Home, PATIENCE, Server},
    outside::Outside,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// From the cancel until the run makes no further calls, including the delay of a busy machine.
const AT_MOST: Duration = Duration::from_secs(2);

const CONNECTIONS: &str = r#"
connections:
  llm: {type: dynamiq.connections.OpenAI, api_key: none, url: "${oc.env:OUTSIDE}/v1"}
  api: {type: dynamiq.connections.Http, method: GET, url: "${oc.env:OUTSIDE}/hang"}
"#;

fn words(id: &str) -> String {
    format!(
        "{{id: {id}, type: dynamiq.nodes.llms.OpenAI, name: {id}, model: hang, connection: llm, streaming: {{enabled: true}}, \
         prompt: {{messages: [{{role: user, content: go}}]}}}}"
    )
}

/// A workflow with one node.
fn alone(node: &str) -> String {
    let tail = "\nflows: {f: {nodes: [one]}}\nworkflows: {w: {flow: f}}\n";
    format!("{CONNECTIONS}nodes:\n  one: {node}{tail}")
}

fn agent(name: &str, model: &str, tools: &str) -> String {
    let streams = model == "hang";
    format!(
        "{{type: dynamiq.nodes.agents.Agent, name: {name}, inference_mode: FUNCTION_CALLING, streaming: {{enabled: {streams}}}, \
         llm: {{type: dynamiq.nodes.llms.OpenAI, model: {model}, connection: llm}}, tools: [{tools}]}}"
    )
}

async fn begin(server: &Server, app: &str, input: Value) -> String {
    let (status, answer) = server.create(app, &json!({"input": input, "background": true})).await;
    assert_eq!(status, 202, "{answer}");
    answer["data"]["id"].as_str().unwrap().to_owned()
}

async fn cancel(server: &Server, app: &str, run: &str) {
    let answer = server.request("POST", app, &format!("/v1/runs/{run}/cancel")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn until(what: &str, at_most: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < at_most, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the types of a run's events. Asserts that the last is `run.canceled`.
async fn log_of_canceled(server: &Server, app: &str, run: &str) -> Vec<String> {
    let events = server.whole_log(app, run).await;
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types.last().unwrap(), "run.canceled", "{app}: {types:?}");
    types
}

#[tokio::test]
async fn a_cancel_closes_the_run_s_connections() {
    let outside = Outside::start().await;
    let home = Home::new();
    let more = "env: [OUTSIDE]\nallow_hosts: [127.0.0.1]\n";
    let tool = "{type: dynamiq.nodes.tools.HttpApiCall, name: Api, connection: api, timeout: 600}";
    let helper = format!("{}, id: helper}}", agent("Look-up", "hang", "").trim_end_matches('}'));
    let map = format!("{{type: dynamiq.nodes.operators.Map, max_workers: 3, node: {}}}", words("item"));
    home.app("words", more, &alone(&words("one")));
    home.app("tool", more, &alone(tool));
    home.app("agent", more, &alone(&agent("Boss", "hang", "")));
    home.app("sub-agent", more, &alone(&agent("Boss", "clerk", &helper)));
    home.app("map", more, &alone(&map));
    let server = home.start_in(&[("OUTSIDE", format!("http://{}", outside.address))], "dev").await;
    for (app, connections) in [("words", 1), ("tool", 1), ("agent", 1), ("sub-agent", 1), ("map", 3)] {
        let (before, _) = outside.hanging();
        let input = if app == "map" { json!([{}, {}, {}]) } else { json!("x") };
        let run = begin(&server, app, json!({"input": input})).await;
        until(&format!("{app} calls: {}", server.log()), PATIENCE, || {
            outside.hanging().0 >= before + connections
        })
        .await;
        cancel(&server, app, &run).await;
        until(&format!("{app}: the connection is closed"), AT_MOST, || {
            let (hanging, left) = outside.hanging();
            hanging == left
        })
        .await;
        let spent = (outside.counts(), outside.hanging());
        let types = log_of_canceled(&server, app, &run).await;
        assert!(types.iter().any(|name| name == "node.started"), "{app}: {types:?}");
        sleep(Duration::from_millis(300)).await;
        assert_eq!((outside.counts(), outside.hanging()), spent, "{app}: no further calls");
        assert_eq!(log_of_canceled(&server, app, &run).await, types, "{app}: no further events");
    }
}

#[tokio::test]
async fn a_cancel_ends_waiting_runs() {
    let outside = Outside::start().await;
    let home = Home::new();
    let more = "env: [OUTSIDE]\nallow_hosts: [127.0.0.1]\nlimits: {concurrent_runs: 1}\n";
    home.app("busy", more, &alone(&words("one")));
    // The run waits between two attempts of its node.
    let tries = "{type: dynamiq.nodes.tools.Python, error_handling: {max_retries: 9, retry_interval_seconds: 600}, \
                 code: \"def run(d):\\n    raise ValueError('no')\\n\"}";
    home.app("wait", "", &alone(tries).replace(CONNECTIONS, ""));
    let gate = "{type: dynamiq.nodes.operators.Pass, approval: {enabled: true}}";
    home.app("gate", "", &alone(gate).replace(CONNECTIONS, ""));
    let server = home.start_in(&[("OUTSIDE", format!("http://{}", outside.address))], "dev").await;

    let running = begin(&server, "busy", json!({})).await;
    until("it calls", PATIENCE, || outside.hanging().0 == 1).await;
    let queued = begin(&server, "busy", json!({})).await;
    cancel(&server, "busy", &queued).await;
    assert_eq!(log_of_canceled(&server, "busy", &queued).await, ["run.canceled"]);
    cancel(&server, "busy", &running).await;
    log_of_canceled(&server, "busy", &running).await;
    until("the connection is closed", AT_MOST, || outside.hanging() == (1, 1)).await;

    let waiting = begin(&server, "wait", json!({})).await;
    let begun = Instant::now();
    loop {
        let (_, answer) = server.get("wait", &format!("/v1/runs/{waiting}/events")).await;
        if answer["data"].as_array().unwrap().iter().any(|event| event["type"] == "node.started") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer}");
        sleep(Duration::from_millis(20)).await;
    }
    cancel(&server, "wait", &waiting).await;
    log_of_canceled(&server, "wait", &waiting).await;

    let (_, answer) = server.create("gate", &json!({"input": {}})).await;
    let paused = answer["data"]["id"].as_str().unwrap();
    assert_eq!(answer["data"]["status"], "awaiting_input", "{answer}");
    cancel(&server, "gate", paused).await;
    log_of_canceled(&server, "gate", paused).await;
    assert!(server.ended("gate", paused).await.get("input_requests").is_none());
}

#[tokio::test]
async fn a_resting_run_holds_no_permit_and_can_be_canceled() {
    let home = Home::new();
    let limits = "limits: {concurrent_runs: 1, run_seconds: 7200}\n";
    let within = "nodes:\n  one: {type: dynamiq.nodes.operators.SubWorkflow, flow: inner}\n  \
                  wait: {type: dynamiq.nodes.operators.Delay}\n  \
                  after: {type: dynamiq.nodes.operators.Pass, depends: [{node: wait}]}\n\
                  flows: {inner: {nodes: [wait, after]}, f: {nodes: [one]}}\nworkflows: {w: {flow: f}}\n";
    home.app("later", limits, within);
    let server = home.start("dev").await;
    // After an hour's delay the sweeper requeues the run; half a minute is waited for in the process.
    for seconds in [3600, 30] {
        let run = begin(&server, "later", json!({"duration_seconds": seconds})).await;
        let waits = |answer: &Value| {
            answer["data"].as_array().unwrap().iter().any(|event| event["type"] == "run.checkpoint")
        };
        let begun = Instant::now();
        while !waits(&server.get("later", &format!("/v1/runs/{run}/events")).await.1) {
            assert!(begun.elapsed() < PATIENCE, "{}", server.log());
            sleep(Duration::from_millis(20)).await;
        }
        if seconds == 3600 {
            let begun = Instant::now();
            loop {
                // The app executes one run at a time: another one can start as soon as this one rests.
                let (status, answer) =
                    server.create("later", &json!({"input": {"duration_seconds": 0}})).await;
                if status == 200 {
                    assert_eq!(answer["data"]["status"], "completed", "{answer}");
                    break;
                }
                assert_eq!(status, 429, "{answer}");
                assert!(begun.elapsed() < PATIENCE, "{}", server.log());
                sleep(Duration::from_millis(20)).await;
            }
        }
        let (_, answer) = server.get("later", &format!("/v1/runs/{run}")).await;
        assert_eq!(answer["data"]["status"], "started", "{answer}");
        cancel(&server, "later", &run).await;
        let types = log_of_canceled(&server, "later", &run).await;
        assert_eq!(types.iter().filter(|name| *name == "node.started").count(), 2, "{types:?}");
        // The canceled run frees its permit.
        let begun = Instant::now();
        while server.create("later", &json!({"input": {"duration_seconds": 0}})).await.0 == 429 {
            assert!(begun.elapsed() < AT_MOST, "{}", server.log());
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(log_of_canceled(&server, "later", &run).await, types, "no further events");
    }
}
