//! The memory limit of requests, runs and responses together.

use crate::world::{Answer, World};
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::convert::Infallible;

const MIB: usize = 1 << 20;

/// Returns a run that waits, with an input of this many bytes.
fn waiting(bytes: usize) -> Value {
    json!({ "input": { "do": [{ "say": "begun" }, { "wait_ms": 3_600_000 }], "pad": "x".repeat(bytes) }, "stream": true })
}

fn is_refused(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.details()), (503, vec!["server".to_owned()]), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "2");
}

#[tokio::test]
async fn a_request_without_memory_is_refused_and_other_apps_continue() {
    let world = World::new().with_memory(8 * MIB);
    let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
    let response = world.open(request.body(Body::from(waiting(900_000).to_string())).unwrap()).await;
    assert_eq!(response.status(), 200, "a single request gets the memory that it needs");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let mut frames = response.into_body().into_data_stream();
    frames.next().await.unwrap().unwrap();

    // Another large body is refused: before it is read if its length is announced, or while it arrives.
    let body = waiting(900_000).to_string();
    let announced = async || {
        let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
        let request = request.header("content-length", body.len());
        world.send(request.body(Body::from(body.clone())).unwrap()).await
    };
    is_refused(&announced().await);
    let pieces: Vec<_> = body
        .as_bytes()
        .chunks(64 << 10)
        .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
        .collect();
    let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
    is_refused(&world.send(request.body(Body::from_stream(stream::iter(pieces))).unwrap()).await);

    // A small body fits, and for another app also a larger one.
    assert_eq!(world.post("/v1/runs", &json!({ "input": { "do": [1] } })).await.status, 200);
    let public = async |bytes: usize| {
        let body = json!({ "input": { "do": [1], "pad": "x".repeat(bytes) } }).to_string();
        let request = world.request("POST", "/v1/runs").header("host", "public.test");
        let request = request.header("content-type", "application/json").header("content-length", body.len());
        let mut request = request.body(Body::from(body)).unwrap();
        request.headers_mut().insert("host", "public.test".parse().unwrap());
        world.send(request).await.status
    };
    assert_eq!(public(10).await, 200);
    assert_eq!(public(50_000).await, 200);

    // When the run has ended, its memory is available again.
    assert_eq!(world.post(&format!("{location}/cancel"), &json!({})).await.status, 200);
    while frames.next().await.is_some() {}
    world.http.service.idle().await;
    let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
    // The run waits, so only the head of the response is checked.
    assert_eq!(world.open(request.body(Body::from(body)).unwrap()).await.status(), 200);
}

#[tokio::test]
async fn unread_responses_take_memory_until_they_are_dropped() {
    let world = World::new().with_memory(4 * MIB);
    let run = world.run(json!(["x".repeat(700_000)])).await;
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    // Each response has input and output; one app can take half of the memory.
    let mut unread = Vec::new();
    let refused = loop {
        let response = world.open(world.request("GET", &path).body(Body::empty()).unwrap()).await;
        if response.status() != 200 {
            break response.status();
        }
        assert!(response.headers().contains_key("content-type"));
        unread.push(response);
        assert!(unread.len() < 10);
    };
    assert_eq!(refused, 503);
    is_refused(&world.get(&path).await);
    unread.pop();
    assert_eq!(world.get(&path).await.json()["data"]["output"], run["output"]);
}
