//! Fairness: no app or address takes all workers or connections, and a waiting run holds no worker.

use crate::{
    harness::{Home, Server},
    outside::Outside,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

const HANGS: &str = r#"
connections:
  api: {type: dynamiq.connections.Http, method: GET, url: "${oc.env:OUTSIDE}/hang"}
nodes:
  one: {type: dynamiq.nodes.tools.HttpApiCall, connection: api, timeout: 600}
flows: {f: {nodes: [one]}}
workflows: {w: {flow: f}}
"#;

const WAITS: &str = "nodes:
  one: {type: dynamiq.nodes.operators.Delay, duration_seconds: 45}
flows: {f: {nodes: [one]}}
workflows: {w: {flow: f}}
";

async fn begin(server: &Server, app: &str, input: Value) -> String {
    let (status, answer) = server.create(app, &json!({"input": input, "background": true})).await;
    assert_eq!(status, 202, "{answer}");
    answer["data"]["id"].as_str().unwrap().to_owned()
}

async fn status(server: &Server, app: &str, run: &str) -> Value {
    server.get(app, &format!("/v1/runs/{run}")).await.1["data"]["status"].clone()
}

#[tokio::test]
async fn an_app_whose_calls_hang_leaves_workers_to_others() {
    let outside = Outside::start().await;
    let home = Home::new();
    home.app("hog", "env: [OUTSIDE]\nallow_hosts: [127.0.0.1]\n", HANGS);
    let environment =
        [("OUTSIDE", format!("http://{}", outside.address)), ("RUNYARD_WORKERS", "4".to_owned())];
    let server = home.start_in(&environment, "dev").await;
    for _ in 0..20 {
        begin(&server, "hog", json!({})).await;
    }
    let run = begin(&server, "echo", json!({"message": "hi"})).await;
    assert_eq!(server.ended("echo", &run).await["status"], "completed");
    assert!(outside.hanging().0 <= 3, "one of 4 workers is reserved for other apps: {:?}", outside.hanging());
}

#[tokio::test]
async fn a_delay_holds_no_worker() {
    let home = Home::new();
    home.app("waits", "", WAITS);
    let server = home.start_in(&[("RUNYARD_WORKERS", "1".to_owned())], "dev").await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(begin(&server, "waits", json!({})).await);
    }
    let run = begin(&server, "echo", json!({"message": "hi"})).await;
    assert_eq!(server.ended("echo", &run).await["status"], "completed");
    for run in &waiting {
        assert_ne!(status(&server, "waits", run).await, "completed", "they still wait");
    }
}

#[tokio::test]
async fn connections_are_limited_per_address() {
    let home = Home::new();
    let server = home.start_in(&[("RUNYARD_CONNECTIONS_PER_PEER", "8".to_owned())], "dev").await;
    // Connections of the harness count until the server notices that they are closed.
    let mut held = Vec::new();
    for _ in 0..100 {
        if held.len() == 8 {
            break;
        }
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if is_served(&mut stream).await {
            held.push(stream);
        } else {
            sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(held.len(), 8);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        assert!(!is_served(&mut stream).await, "a connection above the limit is closed");
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    assert!(is_served(&mut other).await, "another address has its own limit");
    drop(held.pop());
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if is_served(&mut stream).await {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the closed connection is still counted");
}

/// Returns whether a request on this connection is answered. The connection stays open.
async fn is_served(stream: &mut TcpStream) -> bool {
    let request = b"GET /healthz HTTP/1.1\r\nhost: echo.localhost\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut answer = [0; 512];
    matches!(timeout(Duration::from_mins(1), stream.read(&mut answer)).await, Ok(Ok(length)) if length > 0)
}
