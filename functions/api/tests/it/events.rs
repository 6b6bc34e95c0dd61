//! Every event of `events/`, from each type of gateway and in both roles.

use crate::{
    runtime::{Answer, event, events, of_run},
    start,
};
use serde_json::{Value, json};

/// The expected status and content type for the event of this name, about a completed run.
fn expected(name: &str) -> (u16, &'static str) {
    match name {
        "create-run-background" => (202, "application/json"),
        "create-run-stream" | "stream-run" => (200, "text/event-stream"),
        "answer-run" | "retry-run" => (400, "application/json"),
        _ => (200, "application/json"),
    }
}

fn check(name: &str, answer: &Answer) {
    let (status, kind) = expected(name);
    assert_eq!(
        (answer.status, answer.headers["content-type"].as_str()),
        (status, kind),
        "{name}: {answer:?}"
    );
    assert!(!answer.headers["x-request-id"].is_empty(), "{name}: {answer:?}");
    let data = || answer.json()["data"].clone();
    match name {
        "create-run-sync" | "get-run" => {
            assert_eq!(data()["output"], json!({ "message": "hello" }), "{name}: {answer:?}");
        }
        "create-run-background" => assert_eq!(data()["metadata"]["from"], "events", "{answer:?}"),
        "create-run-files" => assert_eq!(data()["files"][0]["size"], 7, "{answer:?}"),
        "create-file" => assert_eq!(data()["name"], "note.txt", "{answer:?}"),
        "list-runs" => {
            let runs = data();
            let ended = |run: &Value| ["completed", "failed"].contains(&run["status"].as_str().unwrap());
            assert!(
                runs.as_array().unwrap().iter().all(ended),
                "both values of a repeated parameter apply: {answer:?}"
            );
            assert_eq!(answer.json()["pagination"]["page_size"], 2, "{answer:?}");
        }
        "cancel-run" => assert_eq!(answer.json()["message"], "canceled"),
        "retry-run" => assert!(answer.body.contains("is completed"), "{answer:?}"),
        "answer-run" => assert!(answer.body.contains("request_id"), "{answer:?}"),
        "run-events" => assert_eq!(data()[0]["type"], "run.completed", "{answer:?}"),
        "create-run-stream" => {
            assert!(answer.body.starts_with("id: 1\nevent: run.started\n"), "{answer:?}");
            assert!(answer.body.contains("event: run.completed\n"), "{answer:?}");
        }
        "stream-run" => assert!(answer.body.starts_with("id: 2\n"), "after Last-Event-ID: {answer:?}"),
        "openapi" => assert_eq!(answer.json()["openapi"].as_str().unwrap()[..2], *"3."),
        "health" => assert_eq!(answer.json()["message"], "ok"),
        name => panic!("the test has no expected response for the event {name}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_answered() {
    for role in ["stream", "control"] {
        let (function, _data) = start(role, &[]).await;
        let run = function.http(event("http", "create-run-sync")).await.json()["data"]["id"].clone();
        for folder in ["rest", "http", "url"] {
            for (name, event) in events(folder) {
                let answer = function.http(of_run(&event, run.as_str().unwrap())).await;
                assert_eq!(answer.streamed, role == "stream");
                check(&name, &answer);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_run_and_an_odd_path_and_a_missing_key_are_refused_in_the_error_format() {
    let (function, _data) = start("stream", &[]).await;
    let answer = function.http(event("rest", "get-run")).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("not_found")));
    let mut odd = event("rest", "get-run");
    odd["path"] = "/v1/runs/a b%zz\u{e9}/../%00".into();
    let answer = function.http(odd).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    let mut keyless = event("rest", "list-runs");
    for headers in ["headers", "multiValueHeaders"] {
        keyless[headers].as_object_mut().unwrap().remove("Authorization");
    }
    let answer = function.http(keyless).await;
    assert_eq!((answer.status, answer.headers["www-authenticate"].as_str()), (401, "Bearer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_large_for_lambda_is_refused_with_a_way_to_send_it() {
    let (function, _data) = start("stream", &[]).await;
    for (name, content, bytes) in [
        ("create-run-sync", "application/json", 5 << 20),
        ("create-file", "multipart/form-data; boundary=boundary", 5 << 20),
    ] {
        let mut large = event("http", name);
        large["headers"]["content-type"] = content.into();
        large["isBase64Encoded"] = false.into();
        let head = "--boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        large["body"] = format!("{head}{}", "x".repeat(bytes)).into();
        let answer = function.http(large).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (413, Some("payload_too_large"))
        );
        // Both types of body have the same limit here, so the way to send more is not the other type.
        assert!(
            answer.body.contains("4 MiB") && answer.body.contains("POST /v1/files with JSON"),
            "{answer:?}"
        );
    }
}
