//! The three modes over HTTP.

use crate::harness::{Home, Llm, assert_whole, events_of};
use serde_json::json;
use std::{sync::atomic::Ordering, time::Duration};

#[tokio::test]
async fn a_run_completes_in_each_mode() {
    let home = Home::new();
    let server = home.start("serve").await;

    let (status, answer) = server.create("echo", &json!({"input": {"message": "hi"}})).await;
    assert_eq!((status, &answer["data"]["status"]), (200, &json!("completed")), "{answer}");
    assert_eq!(answer["data"]["output"], json!({"message": "hi"}));

    let (status, answer) =
        server.create("echo", &json!({"input": {"message": "hi"}, "background": true})).await;
    assert_eq!((status, &answer["data"]["status"]), (202, &json!("created")), "{answer}");
    let id = answer["data"]["id"].as_str().unwrap();
    assert_eq!(server.ended("echo", id).await["output"], json!({"message": "hi"}));
    server.whole_log("echo", id).await;

    let body = json!({"input": {"message": "hi"}, "stream": true});
    let response = server.request("POST", "echo", "/v1/runs").json(&body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = events_of(&response.text().await.unwrap());
    assert_whole(&events);
    assert_eq!(events.last().unwrap()["data"]["output"], json!({"message": "hi"}));
}

#[tokio::test]
async fn runs_complete_when_their_client_disconnects() {
    let llm = Llm::start(Duration::from_millis(200)).await;
    let home = Home::new();
    home.llm_app("ask", llm.address);
    let server = home.start("serve").await;
    for mode in [json!({"input": {"q": "why?"}}), json!({"input": {"q": "why?"}, "stream": true})] {
        let request =
            server.request("POST", "ask", "/v1/runs").json(&mode).timeout(Duration::from_millis(150));
        // The sync client times out without a response; the stream client gets the head of the stream and disconnects.
        drop(request.send().await);
    }
    let (_, list) = server.get("ask", "/v1/runs").await;
    let runs = list["data"].as_array().unwrap();
    assert_eq!(runs.len(), 2, "{list}");
    for run in runs {
        let id = run["id"].as_str().unwrap();
        let ended = server.ended("ask", id).await;
        assert_eq!(ended["status"], "completed", "{ended}");
        server.whole_log("ask", id).await;
    }
    assert_eq!(llm.calls.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn an_app_is_found_by_its_host() {
    let home = Home::new();
    home.app("other", "", &crate::harness::ECHO.replace("{message: $.in", "{other: $.in"));
    let server = home.start_with("serve", &["--default-app", "other"]).await;
    let body = json!({"input": {"message": "hi"}});
    let (_, answer) = server.create("echo", &body).await;
    assert_eq!(answer["data"]["output"], json!({"message": "hi"}));
    let request = server.request_with(&server.key, "example.com", "POST", "/v1/runs").json(&body);
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["output"], json!({"other": "hi"}));
}
