//! Reads request bodies, with limits on size, nesting and time.

use crate::{Api, Config, error::Error};
use axum::body::Body;
use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT},
};
use http_body_util::BodyExt;
use runyard_runs::{App, JsonError, MAX_INPUT_VALUES, MAX_NESTING, is_too_deep, parse_json};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bytes per second, on average, below which a body is refused: a client cannot hold a connection by sending single bytes.
const MIN_RATE: u64 = 4 << 10;

/// Bytes that are still read after a body is refused, and for how long: a client that sends the whole body before it
/// reads would otherwise see a broken connection instead of the error.
const DRAIN_LIMIT: (usize, Duration) = (8 << 20, Duration::from_secs(2));

/// Bytes of a body that arrives in one piece.
const SINGLE_PIECE_BYTES: usize = 16 << 10;

/// The supported content types.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Multipart { boundary: String },
}

impl Content {
    /// Reads the content type from the headers; 415 if it is not supported.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let refused = |header: &str, problem: String| {
            Err(Error::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, header, problem))
        };
        if let Some(encoding) = headers.get(CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return refused("Content-Encoding", "is not supported: send the body uncompressed".to_owned());
        }
        let given = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(given) = given else {
            return refused("Content-Type", format!("is missing: {SUPPORTED}"));
        };
        let (essence, parameters) = given.split_once(';').unwrap_or((&given, ""));
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "multipart/form-data" => match boundary(parameters) {
                Some(boundary) => Ok(Self::Multipart { boundary }),
                None => Err(Error::bad("Content-Type", "must have a boundary of 1 to 70 characters")),
            },
            _ => refused("Content-Type", format!("is not supported: {SUPPORTED}")),
        }
    }
}

const SUPPORTED: &str = "send application/json or multipart/form-data";

/// The alternative to a JSON body that is too large.
const MULTIPART: &str = "send large content as files in multipart/form-data";

/// The alternative to a multipart request that is too large, or if its limit is not above that of JSON.
const PRESIGNED: &str =
    "larger files need a presigned upload (POST /v1/files with JSON), which is not supported yet";

fn boundary(parameters: &str) -> Option<String> {
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    ((1..=70).contains(&boundary.len()) && boundary.is_ascii()).then_some(boundary)
}

/// A request body, read in pieces.
pub(crate) struct Pieces {
    body: Body,
    limit: u64,
    /// For the error if the limit is exceeded: what is limited, and the alternative.
    too_large: [&'static str; 2],
    wait: Duration,
    began: Instant,
    received: u64,
    waits_for_continue: bool,
    announced: Option<u64>,
}

impl Pieces {
    /// Reads a JSON body.
    pub(crate) fn of_json(headers: &HeaderMap, body: Body, config: &Config) -> Self {
        let alternative = if config.multipart_bytes > config.json_bytes { MULTIPART } else { PRESIGNED };
        Self::new(headers, body, config, config.json_bytes, ["JSON bodies", alternative])
    }

    /// Reads a multipart body.
    pub(crate) fn of_multipart(headers: &HeaderMap, body: Body, config: &Config) -> Self {
        Self::new(headers, body, config, config.multipart_bytes, ["multipart requests", PRESIGNED])
    }

    fn new(
        headers: &HeaderMap,
        body: Body,
        config: &Config,
        limit: u64,
        too_large: [&'static str; 2],
    ) -> Self {
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self {
            body,
            limit,
            too_large,
            wait: config.body_wait,
            began: Instant::now(),
            received: 0,
            waits_for_continue: headers.contains_key(EXPECT),
            announced,
        }
    }

    /// Returns the next piece, `None` at the end. 413 beyond the limit, 408 if it is late, 400 if the body is incomplete.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.announced.take().is_some_and(|length| length > self.limit) {
            return Err(self.refuse().await);
        }
        loop {
            let at_min_rate = self.began + self.wait + Duration::from_secs(self.received / MIN_RATE);
            let by = at_min_rate.min(Instant::now() + self.wait);
            let frame = timeout_at(by, self.body.frame()).await.map_err(|_| {
                Error::of(
                    StatusCode::REQUEST_TIMEOUT,
                    "body",
                    "did not arrive in time: send the request again",
                )
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| Error::bad("body", "ended before it was complete"))?;
            let Ok(piece) = frame.into_data() else { continue };
            self.received += piece.len() as u64;
            if self.received > self.limit {
                return Err(self.refuse().await);
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Returns the error for a body that is too large, after the client had time to send the rest.
    async fn refuse(&mut self) -> Error {
        let [what, alternative] = self.too_large;
        let problem = format!("{what} are limited to {}: {alternative}", mebibytes(self.limit));
        self.refused(Error::of(StatusCode::PAYLOAD_TOO_LARGE, "body", problem)).await
    }

    /// Returns `refusal`, after the client had time to send the rest.
    pub(crate) async fn refused(&mut self, refusal: Error) -> Error {
        let (mut left, by) = (DRAIN_LIMIT.0, Instant::now() + DRAIN_LIMIT.1);
        while !self.waits_for_continue && left > 0 {
            let Ok(Some(Ok(frame))) = timeout_at(by, self.body.frame()).await else { break };
            left = left.saturating_sub(frame.data_ref().map_or(1, Bytes::len));
        }
        refusal
    }
}

/// Parses a body that is a JSON object.
///
/// At most [`MAX_NESTING`] levels, not counting the object itself, and at most [`MAX_INPUT_VALUES`] values. The last of
/// equal keys wins; a number beyond 64 bits becomes a float.
pub(crate) async fn json(
    api: &Api,
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<Map<String, Value>, Error> {
    let mut pieces = Pieces::of_json(headers, body, &api.config);
    // A body that does not fit into memory is refused before it is read.
    let announced = pieces.announced.filter(|length| *length <= api.config.json_bytes);
    let announced = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut memory = match api.service.memory().take(app.id, parsed(announced)) {
        Ok(memory) => memory,
        Err(error) => return Err(pieces.refused(error.into()).await),
    };
    if announced > SINGLE_PIECE_BYTES {
        // A slow client takes memory for what has arrived, not for what it announced.
        memory.resize(0)?;
    }
    let first = pieces.next().await?.unwrap_or_default();
    memory.resize(parsed(first.len()))?;
    let Some(second) = pieces.next().await? else { return object(&first) };
    let mut whole = Vec::with_capacity(2 * (first.len() + second.len()));
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while let Some(piece) = pieces.next().await? {
        if let Err(error) = memory.resize(2 * (whole.len() + piece.len())) {
            return Err(pieces.refused(error.into()).await);
        }
        whole.extend_from_slice(&piece);
    }
    memory.resize(parsed(whole.len()))?;
    object(&whole)
}

/// Returns the memory that a body takes while it is parsed: twice its bytes, since the buffer grows, and its values, the
/// smallest of which take 60 times their bytes.
fn parsed(bytes: usize) -> usize {
    2 * bytes + (60 * bytes).min(160 * MAX_INPUT_VALUES)
}

fn object(text: &[u8]) -> Result<Map<String, Value>, Error> {
    if text.is_empty() {
        return Err(Error::bad("body", "is empty: send a JSON object"));
    }
    match parse_json(text, MAX_INPUT_VALUES) {
        Ok(Value::Object(object)) if object.values().any(is_too_deep) => Err(Error::bad("body", too_deep())),
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::bad("body", "must be a JSON object")),
        Err(error @ JsonError::TooManyValues { .. }) => Err(too_many_values("body", &error)),
        Err(JsonError::Invalid(error)) => Err(Error::bad("body", format!("is not valid JSON: {error}"))),
    }
}

/// Returns the error for JSON that has too many values.
pub(crate) fn too_many_values(field: &str, error: &JsonError) -> Error {
    Error::of(StatusCode::PAYLOAD_TOO_LARGE, field, format!("{error}: {MULTIPART}"))
}

/// Returns the error text for a value that [`is_too_deep`].
pub(crate) fn too_deep() -> String {
    format!("is nested deeper than {MAX_NESTING} levels")
}

fn mebibytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use super::{Content, boundary};
    use http::HeaderMap;

    #[test]
    fn the_content_type_decides() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, value.parse().unwrap())]);
            Content::of(&headers).map_err(|error| error.status().as_u16())
        };
        let multipart = |boundary: &str| Ok(Content::Multipart { boundary: boundary.to_owned() });
        assert_eq!(of("application/json"), Ok(Content::Json));
        assert_eq!(of("Application/JSON; charset=utf-8"), Ok(Content::Json));
        assert_eq!(of("multipart/form-data; boundary=x"), multipart("x"));
        assert_eq!(of("multipart/form-data; charset=utf-8; Boundary=\"a b\""), multipart("a b"));
        assert_eq!(of("multipart/form-data"), Err(400));
        assert_eq!(of("multipart/form-data; boundary="), Err(400));
        assert_eq!(of("multipart/mixed; boundary=x"), Err(415));
        assert_eq!(of("application/jsonl"), Err(415));
        assert_eq!(of("text/plain"), Err(415));
        assert_eq!(of(""), Err(415));
        assert_eq!(Content::of(&HeaderMap::new()).map_err(|error| error.status().as_u16()), Err(415));
        assert_eq!(boundary(&format!("boundary={}", "x".repeat(71))), None);
    }
}
