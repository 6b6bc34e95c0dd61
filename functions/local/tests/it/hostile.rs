//! Invalid and borderline HTTP: the server neither hangs nor ends.

use crate::harness::{Home, Server};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

#[tokio::test]
async fn invalid_requests_are_refused_in_the_error_format_and_do_no_harm() {
    let home = Home::new();
    let server = home.start("serve").await;
    let many = "a: b\r\n".repeat(300);
    let large = format!("a: {}\r\n", "x".repeat(100_000));
    let cases: Vec<(&str, String, &str)> = vec![
        ("garbage", "\u{1}\u{2}\u{3} hello\r\n\r\n".into(), "400"),
        ("tls", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}".repeat(20), "400"),
        ("version", "GET / HTTP/9.9\r\n\r\n".into(), "400"),
        ("header name", "GET /healthz HTTP/1.1\r\nhost: x\r\nbad header: x\r\n\r\n".into(), "400"),
        ("many headers", format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n"), "431"),
        ("large headers", format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{large}\r\n"), "431"),
        // 414 or 431, depending on how the pieces arrive.
        ("long target", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(66_000)), "4"),
        (
            "two lengths",
            "POST /v1/runs HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".into(),
            "400",
        ),
        ("bad length", "POST /v1/runs HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".into(), "400"),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".into(), "400"),
        ("two hosts", "GET /healthz HTTP/1.1\r\nhost: x\r\nHost: x\r\n\r\n".into(), "400"),
        ("no valid host", "GET /healthz HTTP/1.1\r\nhost: x, y\r\n\r\n".into(), "400"),
        ("another host", "GET http://y/healthz HTTP/1.1\r\nhost: x\r\n\r\n".into(), "400"),
        ("bare line feeds", "GET /healthz HTTP/1.1\nhost: x\n\n".into(), "400"),
        ("a bare line feed", "GET /healthz HTTP/1.1\r\nhost: x\r\n\n".into(), "400"),
        ("folded", "GET /healthz HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n".into(), "400"),
        ("space before a colon", "GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n".into(), "400"),
        (
            "length and chunks",
            "POST /v1/runs HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .into(),
            "400",
        ),
        (
            "pipelined",
            "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nnonsense nonsense nonsense\r\n\r\n".into(),
            "400",
        ),
    ];
    for (name, bytes, status) in &cases {
        let answer = exchange(&server, bytes.as_bytes()).await;
        let last = answer.rfind("HTTP/1.1 ").map_or("", |at| &answer[at..]);
        assert!(last.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {answer}");
        let (head, body) = last.split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains("x-request-id: "), "{name}: {answer}");
        let body: serde_json::Value =
            serde_json::from_str(body).unwrap_or_else(|_| panic!("{name}: {answer}"));
        assert!(
            body["error"]["code"].is_string() && body["error"]["request_id"].is_string(),
            "{name}: {body}"
        );
    }
    // A client that speaks HTTP/2 would not understand an HTTP/1.1 response.
    assert_eq!(exchange(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, "");
    assert_eq!(server.get("echo", "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_pipelined_response_before_garbage_is_complete() {
    let home = Home::new();
    let server = home.start("serve").await;
    let answer = exchange(&server, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n\x00\x01\r\n\r\n").await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn requests_can_be_pipelined_on_a_connection() {
    let home = Home::new();
    let server = home.start("serve").await;
    let post = format!(
        "POST /v1/runs HTTP/1.1\r\nhost: echo.localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        server.key
    );
    let (first, last) = ("{\n\"input\":\n", "{\"message\": \"a\"}}");
    let whole = format!("{first}{last}");
    let chunks =
        format!("{:x}\r\n{first}\r\n{:X};x=y\r\n{last}\r\n0\r\nt: u\r\n\r\n", first.len(), last.len());
    let requests = [
        "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        format!("{post}content-length: {}\r\n\r\n{whole}", whole.len()),
        format!("{post}transfer-encoding: chunked\r\n\r\n{chunks}"),
        "\r\nGET http://X:1/healthz HTTP/1.1\r\nhost: x:1\r\nconnection: close\r\n\r\n".to_owned(),
    ];
    let answer = exchange(&server, requests.concat().as_bytes()).await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200"; 4], "{answer}");
}

#[tokio::test]
async fn slow_and_truncated_requests_are_dropped_while_others_are_answered() {
    let home = Home::new();
    let server = home.start("serve").await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nho").await.unwrap();
        slow.push(stream);
    }
    for truncated in [
        &b"POST /v1/runs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"inp"[..],
        b"POST /v1/runs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /hea",
        b"",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(truncated).await.unwrap();
        drop(stream);
    }
    assert_eq!(server.get("echo", "/healthz").await.0, 200);
    // Sending a byte now and then does not keep a connection open.
    let mut one = slow.pop().unwrap();
    let closed = async {
        let mut byte = [0; 1];
        loop {
            if one.write_all(b"x").await.is_err() {
                return;
            }
            match timeout(Duration::from_millis(500), one.read(&mut byte)).await {
                Ok(Ok(0) | Err(_)) => return,
                _ => sleep(Duration::from_millis(200)).await,
            }
        }
    };
    timeout(Duration::from_secs(40), closed).await.expect("a slow request is dropped");
    assert_eq!(server.get("echo", "/healthz").await.0, 200);
}

/// Sends bytes and reads until the server closes the connection.
async fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (mut read, mut write) = stream.split();
    // The server may refuse and close before all bytes are sent: its response can still be read.
    let _ = write.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(30), read.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}
