//! HTTP calls other than to models: what tools, embedders and stores have in common.

use crate::egress::{EgressError, Http, RequestError, explain};
use reqwest::{Client, RequestBuilder, StatusCode, Url, header::HeaderMap};
use runyard_runs::{MAX_OUTPUT_VALUES, parse_json};
use serde_json::Value;
use std::time::Duration;

/// Limit on the size of an answer, in bytes: it is in memory as a whole, and its content goes into the run's log.
pub(crate) const MAX_ANSWER: usize = 16 << 20;
/// Limit on the part of an answer that an error quotes, in characters.
const MAX_ERROR_TEXT: usize = 2000;

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The app may not call this address; a retry does not help.
    #[error(transparent)]
    EgressError(#[from] EgressError),
    /// The parameters do not form a valid request.
    #[error("the request is invalid: {0}")]
    Request(String),
    /// The answer is a redirect that is not followed.
    #[error("{0}")]
    Redirect(String),
    #[error("{0}")]
    Connection(String),
    #[error("received no data for {} s", .0.as_secs_f64())]
    Silence(Duration),
    #[error("the answer is larger than {} MiB", MAX_ANSWER >> 20)]
    TooLarge,
}

impl From<RequestError> for Failure {
    fn from(unanswered: RequestError) -> Self {
        match unanswered {
            RequestError::Request(why) => Self::Request(why),
            RequestError::Redirect(why) => Self::Redirect(why),
            RequestError::Connection(why) => Self::Connection(why),
        }
    }
}

/// Takes a member out of an answer; null if it has none. `answer[key].take()` would panic if the answer is not an object.
pub(crate) fn taken(answer: &mut Value, key: &str) -> Value {
    answer.get_mut(key).map(Value::take).unwrap_or_default()
}

/// Builds a request with the app's client, to the checked URL, and sends it. `silence` is the timeout until the answer
/// begins, and between its pieces.
pub(crate) async fn call(
    http: &Http,
    url: &str,
    silence: Duration,
    request: impl FnOnce(&Client, Url) -> RequestBuilder,
) -> Result<Answer, Failure> {
    let (client, url) = http.open(url)?;
    let answered = tokio::time::timeout(silence, http.send(request(&client, url))).await;
    let mut response = answered.map_err(|_| Failure::Silence(silence))??;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    loop {
        let piece = tokio::time::timeout(silence, response.chunk()).await;
        let piece = piece
            .map_err(|_| Failure::Silence(silence))?
            .map_err(|error| Failure::Connection(explain(&error)))?;
        let Some(piece) = piece else {
            // A server may echo what it was sent.
            let body = http.secrets().hide_in_bytes(body);
            return Ok(Answer { status, headers, body });
        };
        if body.len() + piece.len() > MAX_ANSWER {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
}

impl Answer {
    /// Returns a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long to wait before the next call, by the answer's `retry-after`, in seconds.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.header("retry-after")?.trim().parse().ok()?).ok()
    }

    /// The body as JSON; null if it is not JSON, or holds more values than a node's output may.
    pub(crate) fn json(&self) -> Value {
        parse_json(&self.body, MAX_OUTPUT_VALUES).unwrap_or_default()
    }

    /// The body as text. Latin-1 if the answer says so or the body is not valid UTF-8; else UTF-8.
    pub(crate) fn text(&self) -> String {
        let content_type = self.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let charset = content_type.split("charset=").nth(1).map(|charset| charset.trim_matches(['"', ' ']));
        let is_latin = charset.is_some_and(|charset| charset.starts_with("iso-8859-1"));
        match std::str::from_utf8(&self.body) {
            Ok(text) if !is_latin => text.to_owned(),
            _ => self.body.iter().copied().map(char::from).collect(),
        }
    }

    /// The message of an error answer: from one of the fields that JSON APIs usually have for it, else the whole text.
    /// At most [`MAX_ERROR_TEXT`] characters.
    pub(crate) fn error_text(&self) -> String {
        let answer = self.json();
        let paths = ["/error/message", "/error/0/message", "/error", "/message", "/detail", "/status/error"];
        let text = paths
            .iter()
            .find_map(|path| answer.pointer(path)?.as_str().map(str::to_owned))
            .unwrap_or_else(|| self.text());
        text.chars().take(MAX_ERROR_TEXT).collect()
    }
}
