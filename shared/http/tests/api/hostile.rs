//! Every hostile request gets an error in the error format: never a 5xx, never no response.

use crate::world::{MULTIPART, World, multipart};
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, Request};
use proptest::prelude::*;
use runyard_http::Config;
use serde_json::json;
use std::{convert::Infallible, time::Duration};

#[tokio::test]
async fn invalid_json_is_400_with_its_position() {
    let world = World::new();
    let post = async |body: Vec<u8>| {
        let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
        world.send(request.body(Body::from(body)).unwrap()).await
    };
    let deep =
        |depth: usize| format!("{{\"input\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    for body in [
        b"".to_vec(),
        b" ".to_vec(),
        b"{\"input\": {\"do\": [1, 2".to_vec(),
        b"{\"input\": \"\xff\"}".to_vec(),
        b"{\"input\": {}} x".to_vec(),
        b"{\"input\": 1e999}".to_vec(),
        b"{'input': {}}".to_vec(),
        deep(101),
        deep(127),
        deep(2_000_000),
        b"[".repeat(4 << 20),
    ] {
        let answer = post(body).await;
        assert_eq!((answer.status.as_u16(), answer.details()), (400, vec!["body".to_owned()]), "{answer:?}");
    }
    let answer = post(b"{\n  \"input\": oops\n}".to_vec()).await;
    assert!(
        answer.json()["error"]["details"]["body"].as_str().unwrap().contains("line 2 column"),
        "{answer:?}"
    );
    assert_eq!(post(deep(100)).await.details(), ["input"], "parsed at the maximum depth, but not an object");
    let odd = br#"{"input": {"do": ["a"], "do": ["\u0000", 18446744073709551616, -0.0, 1.50]}}"#;
    let run = post(odd.to_vec()).await.json();
    assert_eq!(run["data"]["output"], json!(["\u{0}", 18_446_744_073_709_551_616.0, -0.0, 1.5]));
}

#[tokio::test]
async fn values_are_counted_before_they_are_parsed() {
    let world = World::new();
    let post = async |path: &str, body: String| {
        let request = world.request("POST", path).header("content-type", "application/json");
        world.send(request.body(Body::from(body)).unwrap()).await
    };
    // The object, `input` and its object, `do` and its array, and the items.
    let numbers = |count: usize| format!("{{\"input\":{{\"do\":[1{}]}}}}", ",1".repeat(count - 6));
    assert_eq!(post("/v1/runs", numbers(125_000)).await.status, 200, "80 embeddings fit");
    let repeated =
        |piece: &str| format!("{{\"input\":{{\"do\":[{piece}{}]}}}}", format!(",{piece}").repeat(300_000));
    let bodies = [
        numbers(125_001),
        repeated("{\"a\":1}"),
        repeated("[]"),
        repeated("\"\\\"\""),
        repeated(" { } "),
        repeated("[[[0]]]"),
        format!(
            "{{\"input\":{{{}}}}}",
            (0..70_000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",")
        ),
        format!("{{\"input\":{{\"do\":[]}},\"ignored\":[{}0]}}", "0,".repeat(125_000)),
        format!("[{}", "0,".repeat(2_000_000)),
    ];
    for body in bodies {
        for path in ["/v1/runs", "/v1/runs/0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77/input"] {
            let answer = post(path, body.clone()).await;
            let problem = answer.json()["error"]["details"]["body"].to_string();
            assert_eq!(answer.status, 413, "{} {answer:?}", &body[..60]);
            assert!(problem.contains("more than 125000 values"), "{problem}");
        }
    }
    let form = multipart(&[("name=\"input\"", repeated("{}").as_bytes())]);
    let request = world.request("POST", "/v1/runs").header("content-type", MULTIPART);
    let answer = world.send(request.body(Body::from(form)).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.details()), (413, vec!["input".to_owned()]), "{answer:?}");
}

#[tokio::test]
async fn bodies_are_limited_in_size() {
    let config = Config { json_bytes: 1000, multipart_bytes: 1000, ..Config::default() };
    let world = World::with(config);
    let send = async |content_type: &str, body: Body, announced: Option<u64>| {
        let mut request = world.request("POST", "/v1/runs").header("content-type", content_type);
        if let Some(length) = announced {
            request = request.header("content-length", length);
        }
        world.send(request.body(body).unwrap()).await
    };
    for content_type in ["application/json", MULTIPART] {
        let exact = send(content_type, Body::from(" ".repeat(1000)), None).await;
        assert_eq!(exact.status, 400);
        for (body, announced) in [
            (Body::from(" ".repeat(1001)), None),
            (Body::from("{}"), Some(1001)),
            (
                Body::from_stream(stream::repeat_with(|| {
                    Ok::<_, Infallible>(Bytes::from(vec![b' '; 64 << 10]))
                })),
                None,
            ),
        ] {
            let answer = send(content_type, body, announced).await;
            assert_eq!((answer.status.as_u16(), answer.details()), (413, vec!["body".to_owned()]));
        }
    }
    for (header, value) in
        [("content-type", "text/plain"), ("content-type", ""), ("content-encoding", "gzip")]
    {
        let request = world.request("POST", "/v1/runs").header(header, value);
        assert_eq!(
            world.send(request.body(Body::from("{}")).unwrap()).await.status,
            415,
            "{header}: {value}"
        );
    }
    assert_eq!(send("multipart/form-data", Body::from("x"), None).await.details(), ["Content-Type"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_408() {
    let world = World::new();
    let send = async |body: Body| {
        let request = world.request("POST", "/v1/runs").header("content-type", "application/json");
        let started = tokio::time::Instant::now();
        let answer = world.send(request.body(body).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.details()), (408, vec!["body".to_owned()]));
        started.elapsed()
    };
    let piece = || Ok::<_, Infallible>(Bytes::from("{"));
    let stalled = stream::iter([piece()]).chain(stream::pending());
    assert_eq!(send(Body::from_stream(stalled)).await, Duration::from_secs(30));
    // One byte per second does not keep the connection open either.
    let trickle = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, Infallible>(Bytes::from(" ")), ()))
    });
    assert_eq!(send(Body::from_stream(trickle)).await, Duration::from_secs(30));
}

#[tokio::test]
async fn large_headers_and_queries_are_handled_as_usual() {
    let world = World::new();
    let long = "x".repeat(60_000);
    let request = world
        .request("GET", &format!("/v1/runs?{}={}", &long[..30_000], &long[..30_000]))
        .header("cookie", &long);
    assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200);
    let many: Vec<String> = (0..1500).map(|n| format!("status=x{n}&metadata.{n}=")).collect();
    let many = many.join("&&");
    assert_eq!(world.get(&format!("/v1/runs?{many}")).await.details(), ["metadata", "status"]);
    for header in ["idempotency-key", "last-event-id", "prefer", "authorization"] {
        let request = Request::get("/v1/runs").header("host", "private.test").header(header, &long);
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 401);
    }
}

/// Generates header values.
fn header_value() -> impl Strategy<Value = HeaderValue> {
    proptest::collection::vec(prop_oneof![32_u8..127, 128_u8..=255, Just(b'\t')], 0..60)
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

/// Generates bytes, biased toward the tokens of the parsers.
fn body() -> impl Strategy<Value = Vec<u8>> {
    const TOKENS: [&[u8]; 23] = [
        b"--B",
        b"\r\n",
        b"--B\r\n",
        b"--B--",
        b"\r\n\r\n",
        b"Content-Disposition: form-data; name=",
        b"input",
        b"files",
        b"file",
        b"; filename=\"a\\\"",
        b"{\"input\":",
        b"{",
        b"}",
        b"\"do\":[",
        b"]",
        b"\"data\":",
        b"\"type\":\"approval\"",
        b",",
        b":",
        b"null",
        b"1e9",
        b"\"\xff\"",
        b"\0",
    ];
    let token = proptest::sample::select(&TOKENS[..]);
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(token, 0..20).prop_map(|tokens| tokens.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_is_answered_with_a_5xx(
        method in prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("DELETE")],
        path in prop_oneof![
            Just("/v1/runs"), Just("/v1/runs/0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77/input"), Just("/v1/files"),
            Just("/v1/runs/%00"), Just("/v1/runs/RUN/events"), Just("/v1/runs/RUN/input"), Just("/v1/runs/RUN/stream"),
        ],
        query in "[a-z_=&%0-9.-]{0,40}",
        content_type in prop_oneof![
            Just(HeaderValue::from_static("application/json")), Just(HeaderValue::from_static(MULTIPART)), header_value(),
        ],
        headers in proptest::collection::vec((prop_oneof![
            Just("idempotency-key"), Just("prefer"), Just("last-event-id"), Just("x-request-id"), Just("host"),
            Just("authorization"), Just("content-length"), Just("content-encoding"),
        ], header_value()), 0..2),
        body in body(),
        size in 1_usize..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let run = world.run(json!([{ "ask": "?" }])).await["id"].as_str().unwrap().to_owned();
            world.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
            let mut request = world.request(method, &format!("{}?{query}", path.replace("RUN", &run)));
            request.headers_mut().unwrap().insert("content-type", content_type);
            for (name, value) in headers {
                request.headers_mut().unwrap().insert(name, value);
            }
            let pieces: Vec<_> = body.chunks(size).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
            let request = request.body(Body::from_stream(stream::iter(pieces))).unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(30), world.send(request)).await.expect("an answer");
            assert!(!answer.status.is_server_error(), "{answer:?}");
        });
    }
}
