//! A client of the Model Context Protocol: lists the tools of a server and calls one, over streamable HTTP or over its
//! predecessor, HTTP with Server-Sent Events.
//!
//! A session lasts for one list or one call, as in the reference: nothing is kept between the steps of a run, so any
//! worker can continue with the next.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use crate::{
    egress::{DisplayOrigin, Http, explain},
    http_client::{Failure, MAX_ANSWER, taken},
    llm::sse::Events,
};
use reqwest::{
    Method, Response, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use runyard_runs::{JsonError, MAX_OUTPUT_VALUES, parse_json};
use serde_json::{Map, Value, json};
use std::{collections::VecDeque, fmt, time::Duration};

/// The requested version of the protocol; a server may answer with another.
const VERSION: &str = "2025-06-18";
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Limit on the pages of a list of tools.
const MAX_PAGES: usize = 100;
/// JSON-RPC's code for a method that does not exist.
const METHOD_NOT_FOUND: i64 = -32601;

/// How to reach a server.
pub(crate) struct Server {
    pub(crate) transport: Transport,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    /// Timeout until an answer begins.
    pub(crate) timeout: Duration,
    /// Timeout between the pieces of an answer.
    pub(crate) silence: Duration,
}

/// How messages are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Each message is a request; its answer is the response, JSON or a stream of events.
    Streamable,
    /// Answers arrive on one stream that stays open; its first event holds the URL for messages.
    Sse,
}

/// Omits the headers, which may hold keys.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("transport", &self.transport)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A tool of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The JSON Schema of its input.
    pub(crate) schema: Value,
}

/// Why a request to a server failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Call(#[from] Failure),
    #[error("the server answered {0}: {1}")]
    Status(u16, String),
    /// The server answered with an error; its message.
    #[error("{0}")]
    Answered(String),
    #[error("the server's answer is invalid: {0}")]
    Protocol(&'static str),
}

impl Server {
    /// Lists all its tools. `headers` override the server's own.
    pub(crate) async fn tools(&self, http: &Http, headers: &HeaderMap) -> Result<Vec<Tool>, Error> {
        let mut session = Session::open(self, http, headers).await?;
        let (mut tools, mut params) = (Vec::new(), json!({}));
        for _ in 0..MAX_PAGES {
            let page = session.request("tools/list", &params, None).await?;
            let items =
                page["tools"].as_array().ok_or(Error::Protocol("the list of tools has no `tools`"))?;
            tools.extend(items.iter().map(tool));
            match page["nextCursor"].as_str().filter(|cursor| !cursor.is_empty()) {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => break,
            }
        }
        session.close().await;
        Ok(tools)
    }

    /// Calls a tool. Returns the server's `{content, structuredContent?, isError?}` unchanged.
    pub(crate) async fn call(
        &self,
        http: &Http,
        headers: &HeaderMap,
        key: &str,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Result<Value, Error> {
        let mut session = Session::open(self, http, headers).await?;
        let params = json!({"name": name, "arguments": arguments});
        let result = session.request("tools/call", &params, Some(key)).await?;
        session.close().await;
        Ok(result)
    }
}

fn tool(item: &Value) -> Tool {
    Tool {
        name: item["name"].as_str().unwrap_or_default().to_owned(),
        description: item["description"].as_str().unwrap_or("MCP Tool").to_owned(),
        schema: item["inputSchema"].clone(),
    }
}

struct Session<'s> {
    server: &'s Server,
    http: &'s Http,
    headers: HeaderMap,
    channel: Channel,
    next_id: u64,
}

enum Channel {
    Streamable,
    Sse { post: Url, stream: Box<Stream> },
}

/// The messages of a response, as they arrive.
struct Stream {
    response: Response,
    http: Http,
    events: Events,
    ready: VecDeque<String>,
    silence: Duration,
    bytes: usize,
}

impl<'s> Session<'s> {
    async fn open(server: &'s Server, http: &'s Http, headers: &HeaderMap) -> Result<Self, Error> {
        let mut merged = server.headers.clone();
        for (name, value) in headers {
            merged.insert(name, value.clone());
        }
        let channel = match server.transport {
            Transport::Streamable => Channel::Streamable,
            Transport::Sse => {
                let response = send(server, http, Method::GET, &server.url, merged.clone(), None).await?;
                let mut stream = Stream::new(response, http, server.silence);
                let endpoint =
                    stream.next().await?.ok_or(Error::Protocol("it does not name the URL for messages"))?;
                Channel::Sse { post: post_url(&server.url, &endpoint)?, stream: Box::new(stream) }
            }
        };
        let mut session = Self { server, http, headers: merged, channel, next_id: 0 };
        let params = json!({
            "protocolVersion": VERSION,
            "capabilities": {},
            "clientInfo": {"name": "runyard", "version": env!("CARGO_PKG_VERSION")},
        });
        let answer = session.request("initialize", &params, None).await?;
        if let Some(version) =
            answer["protocolVersion"].as_str().and_then(|version| HeaderValue::from_str(version).ok())
        {
            session.headers.insert(VERSION_HEADER, version);
        }
        session.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), None).await?;
        Ok(session)
    }

    /// Sends a request and waits for its result.
    async fn request(&mut self, method: &str, params: &Value, key: Option<&str>) -> Result<Value, Error> {
        self.next_id += 1;
        let id = self.next_id;
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let response = self.post(&message, key).await?;
        if method == "initialize"
            && let Some(session) = response.headers().get(SESSION)
        {
            self.headers.insert(SESSION, session.clone());
        }
        let mut response_stream = match &self.channel {
            Channel::Streamable => Some(Stream::new(response, self.http, self.server.silence)),
            Channel::Sse { .. } => None,
        };
        loop {
            let stream = match (&mut response_stream, &mut self.channel) {
                (Some(stream), _) => stream,
                (None, Channel::Sse { stream, .. }) => stream,
                (None, Channel::Streamable) => return Err(Error::Protocol("no answer")),
            };
            let text = stream.next().await?.ok_or(Error::Protocol("the stream ended without an answer"))?;
            let message = match parse_json(text.as_bytes(), MAX_OUTPUT_VALUES) {
                Ok(message) => message,
                Err(JsonError::TooManyValues { .. }) => {
                    return Err(Error::Protocol("the answer holds more values than a node's output may"));
                }
                Err(JsonError::Invalid(_)) => continue,
            };
            if message["id"] == id && message["method"].is_null() {
                return result(message);
            }
            // The server may send requests before it answers: they are refused, except for a ping.
            if message["method"].is_string() && !message["id"].is_null() {
                self.post(&reply(&message), None).await?;
            }
        }
    }

    async fn post(&self, message: &Value, key: Option<&str>) -> Result<Response, Error> {
        let mut headers = self.headers.clone();
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            headers.entry(IDEMPOTENCY_KEY).or_insert(key);
        }
        let url = match &self.channel {
            Channel::Streamable => self.server.url.as_str(),
            Channel::Sse { post, .. } => post.as_str(),
        };
        send(self.server, self.http, Method::POST, url, headers, Some(message)).await
    }

    /// Ends the session on a server that keeps sessions. Failures are ignored: such a server also expires sessions
    /// itself.
    async fn close(self) {
        if self.headers.contains_key(SESSION) {
            let _ = send(self.server, self.http, Method::DELETE, &self.server.url, self.headers, None).await;
        }
    }
}

fn result(mut message: Value) -> Result<Value, Error> {
    if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
        let text = error["message"].as_str().unwrap_or("the error has no message");
        return Err(Error::Answered(text.to_owned()));
    }
    Ok(taken(&mut message, "result"))
}

fn reply(message: &Value) -> Value {
    let id = &message["id"];
    if message["method"] == "ping" {
        return json!({"jsonrpc": "2.0", "id": id, "result": {}});
    }
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": METHOD_NOT_FOUND, "message": "method not found"}})
}

async fn send(
    server: &Server,
    http: &Http,
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Option<&Value>,
) -> Result<Response, Error> {
    let (client, url) = http.open(url).map_err(Failure::from)?;
    let accept =
        if method == Method::GET { "text/event-stream" } else { "application/json, text/event-stream" };
    let mut request = client.request(method, url).header(ACCEPT, accept).headers(headers);
    if let Some(body) = body {
        request = request.json(body);
    }
    let sent = tokio::time::timeout(server.timeout, http.send(request)).await;
    let response = sent.map_err(|_| Failure::Silence(server.timeout))?.map_err(Failure::from)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let mut stream = Stream::new(response, http, server.silence);
    let text = stream.whole().await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).chars().take(500).collect();
    Err(Error::Status(status.as_u16(), text))
}

/// The URL for messages. It must be on the same server, so that no keys are sent to another.
fn post_url(url: &str, endpoint: &str) -> Result<Url, Error> {
    let other_server = Error::Protocol("the URL for messages is on another server");
    let base = Url::parse(url)
        .map_err(|_| Failure::Request(format!("{} is not a URL", DisplayOrigin::of_text(url))))?;
    match base.join(endpoint) {
        Ok(post) if post.origin() == base.origin() => Ok(post),
        _ => Err(other_server),
    }
}

impl Stream {
    fn new(response: Response, http: &Http, silence: Duration) -> Self {
        Self {
            response,
            http: http.clone(),
            events: Events::default(),
            ready: VecDeque::new(),
            silence,
            bytes: 0,
        }
    }

    /// Returns the next message; `None` at the end of the response.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        let content_type = self.response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("text/event-stream")) {
            let whole = self.whole().await?;
            return Ok((!whole.is_empty()).then(|| self.text(String::from_utf8_lossy(&whole).into_owned())));
        }
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(self.text(message)));
            }
            let Some(piece) = self.piece().await? else { return Ok(None) };
            let events = self.events.push(&piece).ok_or(Error::Protocol("an event does not end"))?;
            self.ready.extend(events.into_iter().filter(|event| !event.is_empty()));
        }
    }

    /// Masks secrets in a message: the server may echo what it was sent.
    fn text(&self, message: String) -> String {
        self.http.secrets().hide_in_content(message)
    }

    async fn whole(&mut self) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    async fn piece(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        let piece = tokio::time::timeout(self.silence, self.response.chunk()).await;
        let piece = piece
            .map_err(|_| Failure::Silence(self.silence))?
            .map_err(|error| Failure::Connection(explain(&error)))?;
        self.bytes += piece.as_ref().map_or(0, bytes::Bytes::len);
        if self.bytes > MAX_ANSWER {
            return Err(Failure::TooLarge.into());
        }
        Ok(piece)
    }
}
