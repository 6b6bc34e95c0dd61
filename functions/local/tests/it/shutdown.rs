//! SIGTERM and SIGINT.

use crate::harness::{Home, Llm, events_of};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

#[tokio::test]
async fn sigterm_hands_running_runs_over_and_exits_0() {
    let llm = Llm::start(Duration::from_millis(500)).await;
    let home = Home::new();
    home.llm_app("ask", llm.address);
    let mut server = home.start("serve").await;
    let body = json!({"input": {"q": "?"}, "stream": true});
    let streaming = server.request("POST", "ask", "/v1/runs").json(&body).send().await.unwrap();
    let sync = server.request("POST", "ask", "/v1/runs").json(&json!({"input": {"q": "?"}}));
    let sync = tokio::spawn(sync.send());
    let (_, answer) = server.create("ask", &json!({"input": {"q": "?"}, "background": true})).await;
    let background = answer["data"]["id"].as_str().unwrap().to_owned();
    sleep(Duration::from_millis(700)).await;

    let asked = Instant::now();
    server.signal(Signal::TERM);
    let text = timeout(Duration::from_secs(20), streaming.text()).await.expect("the stream ends").unwrap();
    let shown = events_of(&text);
    assert!(!shown.is_empty());
    let waiting = timeout(Duration::from_secs(20), sync).await.expect("it is answered").unwrap().unwrap();
    assert!(matches!(waiting.status().as_u16(), 200 | 503), "{waiting:?}");
    let status = timeout(Duration::from_secs(20), server.child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}: {}", server.log());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());

    let server = home.start("serve").await;
    let streamed = shown[0]["data"]["id"].as_str().unwrap().to_owned();
    for id in [&streamed, &background] {
        let ended = server.ended("ask", id).await;
        assert_eq!(ended["status"], "completed", "{ended}");
        server.whole_log("ask", id).await;
    }
    // The streamed events equal those in the log.
    let (_, events) = server.get("ask", &format!("/v1/runs/{streamed}/events?page_size=100")).await;
    assert_eq!(events["data"].as_array().unwrap()[..shown.len()], shown[..]);
}

#[tokio::test]
async fn ctrl_c_ends_dev_with_idle_connections_open() {
    let home = Home::new();
    let mut server = home.start("dev").await;
    let idle = tokio::net::TcpStream::connect(server.address).await.unwrap();
    assert_eq!(server.get("echo", "/healthz").await.0, 200);
    server.signal(Signal::INT);
    let status = timeout(Duration::from_secs(20), server.child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
    drop(idle);
}

#[tokio::test]
async fn the_error_for_a_port_in_use_names_the_option() {
    let home = Home::new();
    let server = home.start("dev").await;
    let other = Home::new();
    let done = other.run(&["serve", "--listen", &server.address.to_string()]).await;
    assert_eq!(done.code, 4, "{}", done.err);
    assert!(done.err.contains("is in use") && done.err.contains("--listen"), "{}", done.err);
}
