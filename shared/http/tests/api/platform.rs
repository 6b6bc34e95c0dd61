//! Platforms that close silent connections, charge for open streams, or limit the time of a request.

use crate::world::World;
use axum::body::Body;
use http::Request;
use runyard_http::{Config, Deadline};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(100);

fn creates(world: &World, body: &Value) -> Request<Body> {
    let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

fn within(world: &World, mut request: Request<Body>, hand_over: Duration, answer: Duration) -> Request<Body> {
    let now = world.now();
    request.extensions_mut().insert(Deadline { hand_over_at: now + hand_over, answer_by: now + answer });
    request
}

#[tokio::test]
async fn the_caller_of_a_long_run_gets_white_space_before_the_answer() {
    let world = World::with(Config { sync_silence: Some(SOON), ..Config::default() });
    let short = world.post("/v1/runs", &json!({ "input": { "do": [1] } })).await;
    assert_eq!(short.body[0], b'{', "a short run gets none");
    let long = world.post("/v1/runs", &json!({ "input": { "do": [{ "wait_ms": 350 }, 2] } })).await;
    assert_eq!((long.status.as_u16(), long.header("content-type")), (200, "application/json"));
    assert!(long.header("location").starts_with("/v1/runs/"), "{long:?}");
    assert!(long.body.starts_with(b"  "), "{long:?}");
    assert_eq!(long.json()["data"]["output"][1], 2);
    let refused = world.post("/v1/runs", &json!({ "input": { "do": 1 } })).await;
    assert_eq!(refused.status.as_u16(), 400);
}

#[tokio::test]
async fn a_run_is_handed_over_at_the_deadline_of_its_request() {
    let world = World::with(Config { sync_silence: Some(SOON), ..Config::default() });
    let commands = json!([{ "step": "a" }, { "wait_ms": 600 }, { "step": "b" }]);
    let request = creates(&world, &json!({ "input": { "do": commands } }));
    let request = within(&world, request, 2 * SOON, 4 * SOON);
    let answer = world.send(request).await.json();
    assert_eq!(answer["data"]["status"], "started", "the current state");
    world.work_once().await;
    let id = answer["data"]["id"].as_str().unwrap();
    let run = world.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!(run["data"]["output"][2], "b");
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_and_can_be_resumed() {
    let world = World::new();
    let commands = json!([{ "step": "a" }, { "wait_ms": 600 }, { "step": "b" }]);
    let request = creates(&world, &json!({ "input": { "do": commands }, "stream": true }));
    let answer = world.send(within(&world, request, 2 * SOON, 4 * SOON)).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.starts_with("id: 1\nevent: run.started\n"), "{text}");
    assert!(!text.contains("run.completed"), "{text}");
    let last = text.matches("\nid: ").count() + 1;
    world.work_once().await;
    let path = answer.header("location").to_owned();
    let rest = world.get(&format!("{path}/stream?after_sequence={last}")).await;
    let rest = String::from_utf8_lossy(&rest.body).into_owned();
    assert!(rest.starts_with(&format!("id: {}\n", last + 1)), "{rest}");
    assert!(rest.contains("event: run.completed\n"), "{rest}");
    let follow = world.request("GET", &format!("{path}/stream")).body(Body::empty()).unwrap();
    let whole = world.send(within(&world, follow, 5 * SOON, 6 * SOON)).await;
    assert!(whole.body.ends_with(rest.as_bytes()), "the stream of a run that has ended is complete");
}

#[tokio::test]
async fn the_stream_of_a_paused_run_ends_early() {
    let heartbeat = SOON / 4;
    let world = World::with(Config { heartbeat, paused_stream: Some(2 * SOON), ..Config::default() });
    let body = json!({ "input": { "do": [{ "wait_ms": 400 }, { "ask": "well?" }] }, "stream": true });
    let answer = world.send(creates(&world, &body)).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("event: run.paused\n"), "a silent step does not end the stream: {text}");
    assert!(text.ends_with(": heartbeat\n\n"), "{text}");
    let path = answer.header("location").to_owned();
    let later = world.get(&format!("{path}/stream?after_sequence=3")).await;
    assert!(
        !later.body.is_empty() && later.body.starts_with(b": heartbeat"),
        "a later stream ends as well: {later:?}"
    );
}
