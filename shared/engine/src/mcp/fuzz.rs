//! Answers of tool servers.

use super::{Stream, reply, result, tool};
use crate::{
    egress::{Egress, Http},
    schema::Schema,
};
use futures::stream;
use reqwest::Body;
use runyard_fuzzing::{parts, pieces};
use runyard_runs::{FieldErrors, MAX_OUTPUT_VALUES, parse_json};
use serde_json::json;
use std::{convert::Infallible, time::Duration};

/// The content type of an answer, how it is cut, and the answer.
///
/// # Panics
///
/// If a promise is broken.
pub fn mcp(input: &[u8]) {
    let [kind, cuts, content] = parts(input);
    let pieces = pieces(cuts, content);
    let whole = read(kind, vec![pieces.concat()]);
    assert_eq!(read(kind, pieces), whole, "the cuts show");
    for text in whole.0 {
        let Ok(message) = parse_json(text.as_bytes(), MAX_OUTPUT_VALUES) else { continue };
        drop(reply(&message));
        // As a session looks for the answer to its request.
        if message["id"].is_null() || !message["method"].is_null() {
            continue;
        }
        let Ok(result) = result(message) else { continue };
        for item in result["tools"].as_array().into_iter().flatten() {
            let tool = tool(item);
            if let Ok(schema) = Schema::new(&tool.schema) {
                schema.check(&json!({"n": 1}), &mut FieldErrors::new());
            }
        }
    }
}

/// The messages of an answer, and how it ends.
fn read(kind: &[u8], pieces: Vec<Vec<u8>>) -> (Vec<String>, Option<String>) {
    let http = Http::new(Egress { allow_hosts: Vec::new(), allow_loopback: false });
    let body = Body::wrap_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
    let mut response = http::Response::new(body);
    if let Ok(kind) = http::HeaderValue::from_bytes(kind) {
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    }
    let mut stream = Stream::new(response.into(), &http, Duration::from_mins(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut messages = Vec::new();
        loop {
            match stream.next().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
    })
}
