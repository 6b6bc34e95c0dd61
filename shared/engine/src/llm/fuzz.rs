//! Answers of providers, whole and as streams.

use super::{Endpoint, LlmError, Piece, Reply, anthropic, bedrock, cohere, gemini, openai};
use crate::nodes::agents;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use futures::stream;
use reqwest::{Body, Response};
use runyard_fuzzing::{parts, pieces, text};
use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

/// The protocol's name, before `whole` if it is no stream; how the answer is cut; and the answer. Of Bedrock's protocol each
/// line is a message: the type of an event, and its content.
///
/// # Panics
///
/// If a promise is broken.
pub fn streams(input: &[u8]) {
    let [head, cuts, content] = parts(input);
    let head = text(head);
    let (protocol, form) = head.split_once(' ').unwrap_or((&head, ""));
    let is_stream = form != "whole";
    let framed;
    let content = if protocol == "bedrock" && form.is_empty() {
        framed = frames(&text(content));
        &framed
    } else {
        content
    };
    let pieces = pieces(cuts, content);
    let Some(whole) = read(protocol, is_stream, vec![pieces.concat()]) else { return };
    let cut = read(protocol, is_stream, pieces);
    assert_eq!(cut.as_ref(), Some(&whole), "the cuts show");
    let (reply, shown) = whole;
    if let Ok(reply) = &reply {
        drop(reply.parsed_calls());
        agents::fuzz::read(reply);
    }
    // A tool whose arguments are the answer takes the place of text that was shown before.
    if let Ok(Reply { content, .. }) = reply
        && is_stream
        && matches!(protocol, "openai" | "gemini" | "cohere")
    {
        assert_eq!(shown, content.unwrap_or_default(), "not what was shown piece by piece");
    }
}

/// What comes of an answer, and the text that was given piece by piece; nothing if there is no such protocol.
fn read(protocol: &str, is_stream: bool, pieces: Vec<Vec<u8>>) -> Option<(Result<Reply, LlmError>, String)> {
    let shown = Mutex::new(String::new());
    let piece = |piece: Piece<'_>| {
        if let Piece::Text(text) = piece {
            shown.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        }
    };
    let endpoint = Endpoint { provider: "it", ..Endpoint::default() };
    let body = Body::wrap_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
    let response = Response::from(http::Response::new(body));
    let answer = async {
        Some(match protocol {
            "openai" => openai::read(&endpoint, is_stream, response, &piece).await,
            "anthropic" => anthropic::read(&endpoint, is_stream, Some("answer"), response, &piece).await,
            "gemini" => gemini::read(&endpoint, is_stream, response, &piece).await,
            "cohere" => cohere::read(&endpoint, is_stream, response, &piece).await,
            "bedrock" => bedrock::read(&endpoint, is_stream, Some("answer"), response, &piece).await,
            _ => return None,
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let answer = runtime.block_on(answer)?;
    Some((answer, shown.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

fn frames(lines: &str) -> Vec<u8> {
    let mut framed = Vec::new();
    for line in lines.lines() {
        let (kind, content) = line.split_once(' ').unwrap_or((line, ""));
        let (name, kind) =
            kind.strip_prefix('!').map_or((":event-type", kind), |kind| (":exception-type", kind));
        let header = Header::new(name, HeaderValue::String(kind.to_owned().into()));
        let message = Message::new_from_parts(vec![header], content.to_owned());
        // A name or type that is too long for a message.
        let _ = write_message_to(&message, &mut framed);
    }
    framed
}
