//! The events of a run, in pages and as a stream.

use crate::world::World;
use axum::body::Body;
use futures::StreamExt;
use http_body_util::BodyExt;
use runyard_http::Config;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn events_are_paged() {
    let world = World::new();
    let steps: Vec<Value> = (0..28).map(|n| json!({ "step": n.to_string() })).collect();
    let id = world.run(steps.into()).await["id"].as_str().unwrap().to_owned();
    let page = world.get(&format!("/v1/runs/{id}/events")).await.json();
    assert_eq!(page["pagination"], json!({ "page": 1, "page_size": 25, "page_count": 2, "total_count": 30 }));
    let sequences = |page: &Value| -> Vec<u64> {
        page["data"].as_array().unwrap().iter().map(|event| event["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(sequences(&page), (1..=25).collect::<Vec<_>>());
    let page = world.get(&format!("/v1/runs/{id}/events?page=3&page_size=4&sort=-sequence&x=y")).await.json();
    assert_eq!(sequences(&page), [22, 21, 20, 19]);
    let page =
        world.get(&format!("/v1/runs/{id}/events?page=18446744073709551615&page_size=100")).await.json();
    assert_eq!(page["data"], json!([]));
    for (query, details) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1&page=2", "page"),
        ("page=99999999999999999999", "page"),
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("sort=id", "sort"),
        ("sort=", "sort"),
        ("sort=sequence,-sequence", "sort"),
        ("page=x&page_size=%ff&sort=%00", "page page_size sort"),
    ] {
        let answer = world.get(&format!("/v1/runs/{id}/events?{query}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.details().join(" ")),
            (400, details.to_owned()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_seen_event() {
    let world = World::new();
    let id = world.run(json!([{ "step": "a" }, { "step": "b" }])).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{id}/stream");
    let ids = async |query: &str, header: Option<&str>| {
        let mut request = world.request("GET", &format!("{path}{query}"));
        if let Some(header) = header {
            request = request.header("last-event-id", header);
        }
        let answer =
            tokio::time::timeout(Duration::from_secs(20), world.send(request.body(Body::empty()).unwrap()));
        let answer = answer.await.expect("a stream of an ended run ends");
        if answer.status == 400 {
            return answer.details().join(" ");
        }
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("id: ")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids("", None).await, "1 2 3 4");
    assert_eq!(ids("?after_sequence=1", None).await, "2 3 4");
    assert_eq!(ids("", Some("3")).await, "4");
    assert_eq!(ids("", Some("-1")).await, "1 2 3 4");
    assert_eq!(ids("", Some("0")).await, "1 2 3 4");
    assert_eq!(ids("?after_sequence=1", Some("2")).await, "3 4", "the header overrides the query");
    assert_eq!(ids("?after_sequence=4", None).await, "");
    assert_eq!(ids("", Some("18446744073709551615")).await, "");
    assert_eq!(ids("?after_sequence=0", None).await, "after_sequence");
    assert_eq!(ids("?after_sequence=x", Some("-2")).await, "Last-Event-ID after_sequence");
    assert_eq!(ids("", Some("")).await, "Last-Event-ID");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_sends_heartbeats() {
    let world = World::new();
    let created = world.post("/v1/runs", &json!({ "input": { "do": [] }, "background": true })).await.json();
    let path = format!("/v1/runs/{}/stream", created["data"]["id"].as_str().unwrap());
    let started = tokio::time::Instant::now();
    let response = world.open(world.request("GET", &path).body(Body::empty()).unwrap()).await;
    let mut frames = response.into_body().into_data_stream();
    for beat in 1..=3 {
        assert_eq!(frames.next().await.unwrap().unwrap(), ": heartbeat\n\n");
        assert_eq!(started.elapsed().as_secs(), 15 * beat);
    }
    let by = runyard_runs::Actor { key: Some("0123456789abcdef".to_owned()), user_id: None };
    world
        .http
        .service
        .cancel(&*world.app().await, created["data"]["id"].as_str().unwrap().parse().unwrap(), &by)
        .await
        .unwrap();
    let rest =
        frames.map(|frame| String::from_utf8(frame.unwrap().to_vec()).unwrap()).collect::<Vec<_>>().await;
    assert!(rest.concat().starts_with("id: 1\nevent: run.canceled\ndata: {"), "{rest:?}");
}

/// An error in a body would break the response, which some clients treat as the end of the run, and others ignore.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_if_the_store_fails_and_can_be_resumed() {
    let world = World::with(Config { streams_per_app: 1, ..Config::default() });
    let body = json!({ "input": { "do": [{ "ask": "well?" }] }, "background": true });
    let created = world.post("/v1/runs", &body).await.json();
    world.work_once().await;
    let path = format!("/v1/runs/{}/stream", created["data"]["id"].as_str().unwrap());
    let response = world.open(world.request("GET", &path).body(Body::empty()).unwrap()).await;
    let mut frames = response.into_body().into_data_stream();
    let first = frames.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"id: 1\nevent: run.started\n"), "{first:?}");
    let seen = String::from_utf8_lossy(&first).matches("\nid: ").count() + 1;
    world.runs.fail(true);
    assert!(frames.next().await.is_none(), "neither an error nor an event");
    let refused = world.open(world.request("GET", &path).body(Body::empty()).unwrap()).await;
    assert!(
        refused.into_body().collect().await.unwrap().to_bytes().is_empty(),
        "a stream that starts now does not break either"
    );
    world.runs.fail(false);
    let cancel = world.post(&path.replace("/stream", "/cancel"), &json!({})).await;
    assert_eq!(cancel.status, 200, "{cancel:?}");
    let rest = world.get(&format!("{path}?after_sequence={seen}")).await;
    let rest = String::from_utf8_lossy(&rest.body).into_owned();
    assert!(rest.starts_with(&format!("id: {}\nevent: run.canceled\n", seen + 1)), "{rest}");
}

#[tokio::test]
async fn open_streams_are_limited_and_end_at_a_shutdown() {
    let world = World::with(Config { streams_per_app: 2, ..Config::default() });
    let created = world.post("/v1/runs", &json!({ "input": { "do": [] }, "background": true })).await.json();
    let path = format!("/v1/runs/{}/stream", created["data"]["id"].as_str().unwrap());
    let open = async || world.open(world.request("GET", &path).body(Body::empty()).unwrap()).await;
    let (first, second) = (open().await, open().await);
    let third = world.get(&path).await;
    assert_eq!((third.status.as_u16(), third.header("retry-after")), (429, "1"));
    let streamed = world.post("/v1/runs", &json!({ "input": { "do": [] }, "stream": true })).await;
    assert_eq!(streamed.status, 429);
    assert_eq!(
        world.get("/v1/runs").await.json()["pagination"]["total_count"],
        1,
        "the refused stream created no run"
    );
    drop(first);
    let third = open().await;
    assert_eq!(third.status(), 200);
    world.http.service.shut_down().await;
    assert_eq!(second.into_body().collect().await.unwrap().to_bytes(), "");
}
