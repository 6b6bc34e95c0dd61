//! The quota `limits.stored_bytes`.

use crate::world::{Answer, MULTIPART, World, multipart};
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use runyard_runs::{App, Limits};
use serde_json::json;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const QUOTA: u64 = 200_000;

fn world() -> World {
    let world = World::new();
    for name in ["private", "public"] {
        world.change(name, |app| {
            Some(App { limits: Limits { stored_bytes: QUOTA, ..app.limits.clone() }, ..app })
        });
    }
    world
}

fn is_refused(answer: &Answer) {
    let details = (answer.status.as_u16(), answer.details(), answer.header("retry-after"));
    assert_eq!(details, (429, vec!["limits.stored_bytes".to_owned()], "3600"), "{answer:?}");
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], "too_many_requests");
    let problem = error["details"]["limits.stored_bytes"].as_str().unwrap();
    assert!(problem.contains("200000 bytes") && problem.contains("retention_days"), "{problem}");
}

/// Sends a request with `Expect: 100-continue`; returns the response, and whether the body was read.
async fn announce(world: &World, path: &str, content_type: &str, body: Vec<u8>) -> (Answer, bool) {
    let read = Arc::<AtomicBool>::default();
    let seen = Arc::clone(&read);
    let length = body.len();
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from(body))])
        .inspect(move |_| seen.store(true, Ordering::Relaxed));
    let request = world.request("POST", path).header("content-type", content_type);
    let request = request.header("content-length", length).header("expect", "100-continue");
    let answer = world.send(request.body(Body::from_stream(body)).unwrap()).await;
    (answer, read.load(Ordering::Relaxed))
}

#[tokio::test]
async fn above_the_quota_a_request_is_refused_before_its_body_is_read() {
    let world = world();
    let failed = world.run(json!([{ "fail": "no luck" }])).await;
    let kept = world.run(json!(["x".repeat(100_000)])).await;
    let create = json!({ "input": { "do": [] } }).to_string();
    for (path, content_type, body) in [
        ("/v1/runs", "application/json", create.clone().into_bytes()),
        ("/v1/runs", MULTIPART, multipart(&[("name=input", br#"{"do":[]}"#)])),
        ("/v1/files", MULTIPART, multipart(&[("name=file; filename=x", b"x")])),
    ] {
        let (answer, was_read) = announce(&world, path, content_type, body).await;
        is_refused(&answer);
        assert!(!was_read, "{path}");
    }
    for mode in ["stream", "background"] {
        is_refused(&world.post("/v1/runs", &json!({ "input": { "do": [] }, mode: true })).await);
    }
    let retry = format!("/v1/runs/{}/retry", failed["id"].as_str().unwrap());
    is_refused(&world.post(&retry, &json!({})).await);
    assert_eq!(world.get("/v1/runs").await.json()["pagination"]["total_count"], 2);
    assert_eq!(world.get(&format!("/v1/runs/{}", kept["id"].as_str().unwrap())).await.status, 200);
    let other = world.with_key(&world.key, "POST", "/v1/runs", &json!({ "input": { "do": [] } })).await;
    assert_eq!(other.status, 200, "another app has its own quota");
    world.clock.forward(world.app().await.lifetime() + Duration::from_hours(24));
    assert_eq!(world.post("/v1/runs", &json!({ "input": { "do": [] } })).await.status, 200);
}

#[tokio::test]
async fn an_upload_above_the_quota_is_refused() {
    let world = world();
    let content = vec![b'x'; 150_000];
    let form = |name: &str| {
        multipart(&[("name=input", br#"{"do":[]}"#), (&format!("name={name}; filename=x"), &content)])
    };
    let request = world.request("POST", "/v1/files").header("content-type", MULTIPART);
    let stored = world.send(request.body(Body::from(form("file"))).unwrap()).await;
    assert_eq!((stored.status.as_u16(), world.files.count()), (200, 1), "{stored:?}");
    for (path, name) in [("/v1/files", "file"), ("/v1/runs", "files")] {
        let (answer, was_read) = announce(&world, path, MULTIPART, form(name)).await;
        is_refused(&answer);
        assert!(!was_read, "the announced length exceeds the quota");
        let pieces: Vec<_> =
            form(name).chunks(10_000).map(|piece| Ok::<_, Infallible>(piece.to_vec())).collect();
        let request = world.request("POST", path).header("content-type", MULTIPART);
        is_refused(&world.send(request.body(Body::from_stream(stream::iter(pieces))).unwrap()).await);
        assert_eq!(world.files.count(), 1, "a refused upload leaves no file");
    }
    assert_eq!(world.get("/v1/runs").await.json()["pagination"]["total_count"], 0);
    // Refused uploads do not count toward the quota.
    let (small, was_read) =
        announce(&world, "/v1/files", MULTIPART, multipart(&[("name=file; filename=x", &content[..40_000])]))
            .await;
    assert_eq!((small.status.as_u16(), was_read), (200, true), "{small:?}");
}
