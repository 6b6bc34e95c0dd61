//! Calls over HTTP that are no model's: what tools, embedders and stores have in common.

use crate::egress::{Http, Refused, Unanswered, explain};
use reqwest::{Client, RequestBuilder, StatusCode, Url, header::HeaderMap};
use runyard_runs::{MAX_OUTPUT_VALUES, parse_json};
use serde_json::Value;
use std::time::Duration;

/// The most that an answer may hold, in bytes: it is in memory as a whole, and its content goes into the run's log.
pub(crate) const MAX_ANSWER: usize = 16 << 20;
/// How much of an answer stands in an error, in characters.
const MAX_ERROR_TEXT: usize = 2000;

/// What was answered, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nothing may be sent there; trying again does not help.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request cannot be made of what was given.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// It is answered with a redirect that is not followed.
    #[error("{0}")]
    Redirect(String),
    #[error("{0}")]
    Connection(String),
    #[error("no answer came for {} s", .0.as_secs_f64())]
    Silence(Duration),
    #[error("the answer is larger than {} MiB", MAX_ANSWER >> 20)]
    TooLarge,
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Request(why) => Self::Request(why),
            Unanswered::Redirect(why) => Self::Redirect(why),
            Unanswered::Connection(why) => Self::Connection(why),
        }
    }
}

/// A member out of an answer; null if there is none. The answer may be no object: then `answer[key].take()` panics.
pub(crate) fn taken(answer: &mut Value, key: &str) -> Value {
    answer.get_mut(key).map(Value::take).unwrap_or_default()
}

/// Makes a request with the app's client, to the URL that was checked; then sends it. `silence` is how long nothing may
/// come, before the answer and between its pieces.
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
            // A server may repeat what it was sent.
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
    /// A header, unless it is no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the answer asks to wait before the next call.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.header("retry-after")?.trim().parse().ok()?).ok()
    }

    /// The body as JSON; null if it is none, or holds more values than a node may give.
    pub(crate) fn json(&self) -> Value {
        parse_json(&self.body, MAX_OUTPUT_VALUES).unwrap_or_default()
    }

    /// The body as text: in the charset that the answer names, if it is one of the common ones, else in UTF-8 or, where
    /// it is none, in Latin-1.
    pub(crate) fn text(&self) -> String {
        let content_type = self.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let charset = content_type.split("charset=").nth(1).map(|charset| charset.trim_matches(['"', ' ']));
        let is_latin = charset.is_some_and(|charset| charset.starts_with("iso-8859-1"));
        match std::str::from_utf8(&self.body) {
            Ok(text) if !is_latin => text.to_owned(),
            _ => self.body.iter().copied().map(char::from).collect(),
        }
    }

    /// What an error says: the message that JSON APIs put at one of the usual places, else the text as it came, cut.
    pub(crate) fn error_text(&self) -> String {
        let answer = self.json();
        let places = ["/error/message", "/error/0/message", "/error", "/message", "/detail", "/status/error"];
        let text = places
            .iter()
            .find_map(|place| answer.pointer(place)?.as_str().map(str::to_owned))
            .unwrap_or_else(|| self.text());
        text.chars().take(MAX_ERROR_TEXT).collect()
    }
}
