//! A caller's trace continues in the function, as seen by a collector.

use crate::{runtime::event, start};
use axum::{Router, body::Bytes, extract::State, routing::post};
use std::{sync::Arc, sync::Mutex};

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_s_trace_continues_in_the_function() {
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let collect = async |State(seen): State<Arc<Mutex<Vec<u8>>>>, body: Bytes| {
        seen.lock().unwrap().extend_from_slice(&body);
    };
    let router = Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (function, _data) = start("stream", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector)]).await;
    let mut request = event("http", "create-run-sync");
    request["headers"]["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
    assert_eq!(function.http(request).await.status, 200);
    // Sent before the function answered: the platform may freeze it after that.
    let seen = seen.lock().unwrap().clone();
    let has = |bytes: &[u8]| seen.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"), "the caller's trace");
    assert!(has(b"\xb7\xad\x6b\x71\x69\x20\x33\x31"), "the caller's span, as a parent");
    assert!(has(b"request") && has(b"run") && has(b"/v1/runs"), "the request and its run");
}
