//! `POST /v1/runs`: the three modes, validation, idempotency.

use crate::world::{MULTIPART, World, multipart, project_scope};
use axum::body::Body;
use runyard_http::Config;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_sync_run_is_answered_when_it_has_ended() {
    let world = World::new();
    let session = "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77";
    let body = json!({
        "input": { "do": ["a", { "b": 1 }] }, "user_id": "u", "session_id": session, "metadata": { "k": "v" },
        "file_ids": null, "stream": false, "callbacks": [], "unknown": true,
    });
    let answer = world.post("/v1/runs", &body).await;
    assert_eq!(answer.status, 200);
    let run = &answer.json()["data"];
    assert_eq!(answer.header("location"), format!("/v1/runs/{}", run["id"].as_str().unwrap()));
    assert_eq!(run["status"], "completed");
    assert_eq!(run["output"], json!(["a", { "b": 1 }]));
    assert_eq!(run["input"], body["input"]);
    assert_eq!(
        (&run["user_id"], &run["session_id"], &run["metadata"]["k"]),
        (&json!("u"), &json!(session), &json!("v"))
    );
    assert!(run["started_at"].as_str().unwrap().ends_with('Z') && run["ended_at"].is_string());
    for absent in ["error", "files", "usage", "input_requests"] {
        assert!(run.get(absent).is_none(), "{absent} has no value");
    }
    assert_eq!(world.get(answer.header("location")).await.json()["data"], *run);
}

#[tokio::test]
async fn a_failed_run_is_200() {
    let run = World::new().run(json!([{ "fail": "no" }])).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("node_failed")));
    assert!(run.get("output").is_none());
}

#[tokio::test]
async fn a_run_that_waits_for_a_person_is_awaiting_input() {
    let run = World::new().run(json!([{ "ask": "really?" }])).await;
    assert_eq!(run["status"], "awaiting_input");
    assert_eq!(run["input_requests"][0]["prompt"], "really?");
    assert_eq!(run["input_requests"][0]["type"], "human_feedback");
}

#[tokio::test]
async fn a_sync_run_that_takes_too_long_is_answered_in_its_current_state() {
    let world = World::with(Config { sync_wait: Duration::from_millis(300), ..Config::default() });
    let run = world.run(json!([{ "wait_ms": 60_000 }])).await;
    assert_eq!(run["status"], "started");
}

#[tokio::test]
async fn a_background_run_is_accepted_and_prefer_waits_for_it() {
    let world = World::new();
    let body = json!({ "input": { "do": [1] }, "background": true });
    let answer = world.post("/v1/runs", &body).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["data"]["status"], "created");
    world.work_once().await;
    assert_eq!(world.get(answer.header("location")).await.json()["data"]["status"], "completed");

    let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
    let request = request.header("prefer", "wait=30").body(Body::from(body.to_string())).unwrap();
    let (answer, ()) = tokio::join!(world.send(request), world.work_once());
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, "wait=30"));
    assert_eq!(answer.json()["data"]["status"], "completed");
}

#[tokio::test]
async fn a_stream_runs_from_the_first_event_to_the_last() {
    let world = World::new();
    let answer =
        world.post("/v1/runs", &json!({ "input": { "do": [{ "say": "hi\nyou" }] }, "stream": true })).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let events: Vec<Vec<&str>> = text.trim_end().split("\n\n").map(|event| event.lines().collect()).collect();
    for (index, event) in events.iter().enumerate() {
        let [id, name, data] = event[..] else { panic!("{event:?}") };
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(id, format!("id: {}", index + 1));
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        assert_eq!(data["sequence"], index + 1);
    }
    let names: Vec<&str> = events.iter().map(|event| event[1].trim_start_matches("event: ")).collect();
    assert_eq!(names, ["run.started", "llm.delta", "run.completed"]);
}

#[tokio::test]
async fn all_errors_are_reported_at_once() {
    let world = World::new();
    let body = json!({
        "input": [], "user_id": 7, "session_id": "x", "stream": "yes", "background": 1,
        "file_ids": ["x", 1, "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77"], "metadata": { "": "v", "k": 1, "l": "x".repeat(513) },
        "callbacks": [{ "url": "https://example.com" }],
    });
    let answer = world.post("/v1/runs", &body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.details(),
        [
            "background",
            "callbacks",
            "file_ids.0",
            "file_ids.1",
            "input",
            "metadata.",
            "metadata.k",
            "metadata.l",
            "session_id",
            "stream",
            "user_id",
        ]
    );
    for (body, details) in [
        (json!({}), vec!["input"]),
        (json!({ "input": null }), vec!["input"]),
        (json!({ "input": {} }), vec!["do"]),
        (json!({ "input": { "do": [] }, "stream": true, "background": true }), vec!["background", "stream"]),
        (json!({ "input": { "do": [] }, "user_id": "x".repeat(257) }), vec!["user_id"]),
        (
            json!({ "input": { "do": [] }, "file_ids": ["0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77"] }),
            vec!["file_ids.0"],
        ),
        (json!({ "input": { "do": ["x".repeat(1 << 20)] } }), vec!["input"]),
        (
            json!({ "input": { "do": [] }, "metadata": (0..17).map(|n| (n.to_string(), "")).collect::<std::collections::BTreeMap<_, _>>() }),
            vec!["metadata"],
        ),
        (json!([]), vec!["body"]),
        (json!("x"), vec!["body"]),
    ] {
        let answer = world.post("/v1/runs", &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.details()),
            (400, details.iter().map(|&name| name.to_owned()).collect())
        );
    }
    let problem = async |body: Value, field: &str| {
        world.post("/v1/runs", &body).await.json()["error"]["details"][field].clone()
    };
    assert_eq!(problem(json!({}), "input").await, "cannot be blank");
    let both = json!({ "input": { "do": [] }, "stream": true, "background": true });
    assert_eq!(problem(both, "stream").await, "`stream` and `background` are mutually exclusive");
    assert_eq!(world.get("/v1/runs").await.json()["pagination"]["total_count"], 0, "nothing was stored");
}

#[tokio::test]
async fn an_idempotency_key_returns_the_same_run() {
    let world = World::new();
    let post = async |key: &str, content_type: &str, body: String| {
        let request = world.request("POST", "/v1/runs").header("content-type", content_type);
        world.send(request.header("idempotency-key", key).body(Body::from(body)).unwrap()).await
    };
    let json = "application/json";
    let first = post("k", json, r#"{"input": {"do": ["é"], "z": 1}, "user_id": "u"}"#.into()).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (200, ""));
    // The same request with another order, other whitespace, an escape, an explicit default, an unknown field, or as a form.
    let form = multipart(&[("name=user_id", b"u"), ("name=input", "{\"z\":1,\"do\":[\"é\"]}".as_bytes())]);
    for (content_type, body) in [
        (json, r#"{"user_id":"u","stream":false,"x":1,"input":{"z":1,"do":["\u00e9"]}}"#.to_owned()),
        (MULTIPART, String::from_utf8(form).unwrap()),
    ] {
        let again = post("k", content_type, body).await;
        assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (200, "true"));
        assert_eq!(again.json(), first.json());
    }
    for body in [
        r#"{"input": {"do": ["é"], "z": 1.0}, "user_id": "u"}"#,
        r#"{"input": {"do": ["é"], "z": 1}, "user_id": "v"}"#,
        r#"{"input": {"do": ["é"], "z": 1}, "user_id": "u", "background": true}"#,
    ] {
        let other = post("k", json, body.to_owned()).await;
        assert_eq!((other.status.as_u16(), other.details()), (409, vec!["Idempotency-Key".to_owned()]));
    }
    let other = post("l", json, r#"{"input": {"do": ["é"], "z": 1}, "user_id": "u"}"#.into()).await;
    assert_ne!(other.json()["data"]["id"], first.json()["data"]["id"]);
    let streamed = r#"{"input": {"do": []}, "stream": true}"#;
    let (first, again) = (post("s", json, streamed.into()).await, post("s", json, streamed.into()).await);
    assert_eq!((first.body, again.header("idempotency-replayed")), (again.body.clone(), "true"));
    for key in ["", &"x".repeat(256)] {
        assert_eq!(post(key, json, streamed.into()).await.details(), ["Idempotency-Key"]);
    }
    assert_eq!(post(&"é".repeat(255), json, streamed.into()).await.status, 200);
}

#[tokio::test]
async fn an_idempotency_key_is_scoped_to_its_caller() {
    let world = World::new();
    let other = world.new_key(project_scope(2), |_| {});
    let mut ids = Vec::new();
    for key in [&world.key, &other] {
        let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
        let mut request =
            request.header("idempotency-key", "k").body(Body::from(r#"{"input":{"do":[]}}"#)).unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        ids.push(world.send(request).await.json()["data"]["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn the_concurrent_run_limit_is_429_with_retry_after() {
    let world = World::with(Config { sync_wait: Duration::from_millis(100), ..Config::default() });
    for _ in 0..4 {
        world.run(json!([{ "wait_ms": 60_000 }])).await;
    }
    let answer = world.post("/v1/runs", &json!({ "input": { "do": [] } })).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "1"));
    let problem = answer.json()["error"]["details"]["app"].to_string();
    assert!(problem.contains("concurrent run limit reached"), "{problem}");
}

#[tokio::test]
async fn at_a_shutdown_a_waiting_caller_gets_the_run_in_its_current_state() {
    let world = World::new();
    let shut_down = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.http.service.shut_down().await;
    };
    let (run, ()) = tokio::join!(world.run(json!([{ "wait_ms": 60_000 }])), shut_down);
    assert_eq!(run["status"], "started");
    let refused = world.post("/v1/runs", &json!({ "input": { "do": [] } })).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert_eq!(world.get("/readyz").await.status, 503);
    assert_eq!(world.get("/healthz").await.status, 200);
}
