//! A client of the Runs API, over the network or for a router in this process.

mod follow;
mod multipart;
mod sse;

pub(crate) use follow::{follow, is_terminal};
pub(crate) use multipart::Form;

use crate::exit::usage;
use anyhow::{Context, Result, anyhow};
use axum::{Router, body::Body};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{HeaderMap, Method, header};
use serde_json::Value;
use std::{fmt, time::Duration};
use tower::ServiceExt;

/// A client of one app.
#[derive(Clone)]
pub(crate) struct Client {
    transport: Transport,
    /// The `Host` header, which selects the app.
    host: Option<String>,
    key: Option<String>,
}

#[derive(Clone)]
enum Transport {
    /// A server.
    Remote { http: reqwest::Client, base: reqwest::Url },
    /// The router in this process, without a server.
    Here(Router),
}

/// A request to the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query, starting with `/v1`.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Payload,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// No body.
    Empty,
    /// A JSON document.
    Json(Value),
    /// A form with files.
    Form(Form),
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: Payload::Empty }
    }

    pub(crate) fn post(path: impl Into<String>, body: Payload) -> Self {
        Self { method: Method::POST, path: path.into(), headers: Vec::new(), body }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A successful response whose body is not read yet.
pub(crate) struct Response {
    pub(crate) body: BoxStream<'static, Result<Bytes>>,
}

impl Response {
    /// The body as JSON.
    pub(crate) async fn json(self) -> Result<Value> {
        let body = collect(self.body).await?;
        serde_json::from_slice(&body).context("the server's response is not JSON: is this a Runyard server?")
    }
}

impl Client {
    /// A client of the server at `url`. With a localhost URL, `app` chooses the app by the host `<app>.localhost`; with
    /// any other URL, the URL's own host does.
    pub(crate) fn remote(url: &str, key: Option<String>, app: Option<&str>) -> Result<Self> {
        // The trailing slash keeps the URL's path, such as that of a stage.
        let base: reqwest::Url = format!("{}/", url.trim_end_matches('/')).parse().map_err(|error| {
            usage(format!("--url {url}: is not a URL ({error}): give one like http://localhost:8787"))
        })?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(usage(format!("--url {url}: is not an HTTP or HTTPS URL")));
        }
        let local = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let host = app.filter(|_| local).map(|app| match base.port() {
            Some(port) => format!("{app}.localhost:{port}"),
            None => format!("{app}.localhost"),
        });
        // Once per process; the engine may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { transport: Transport::Remote { http, base }, host, key })
    }

    /// A client for a router in this process.
    pub(crate) fn here(router: Router, key: String, host: String) -> Self {
        Self { transport: Transport::Here(router), host: Some(host), key: Some(key) }
    }

    /// Sends a request; a status of 400 or above is the error [`Refused`].
    pub(crate) async fn send(&self, call: &Call) -> Result<Response> {
        let (status, headers, body) = match &self.transport {
            Transport::Remote { http, base } => self.send_there(http, base, call).await?,
            Transport::Here(router) => self.send_here(router, call).await?,
        };
        if status < 400 {
            return Ok(Response { body });
        }
        let text = collect(body).await.unwrap_or_default();
        Err(Refused::read(status, &headers, &text).into())
    }

    /// [`Client::send`] for a request with an `Idempotency-Key`: retried if its response was lost.
    pub(crate) async fn send_once(&self, call: &Call) -> Result<Response> {
        for wait in [200, 1000] {
            match self.send(call).await {
                Err(error) if error.is::<NoResponse>() => {
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                answered => return answered,
            }
        }
        self.send(call).await
    }

    /// Sends a request and reads its JSON response.
    pub(crate) async fn json(&self, call: &Call) -> Result<Value> {
        self.send(call).await?.json().await
    }

    async fn send_there(&self, http: &reqwest::Client, base: &reqwest::Url, call: &Call) -> Result<Parts> {
        let url = base
            .join(call.path.trim_start_matches('/'))
            .with_context(|| format!("{} is not a path", call.path))?;
        let mut request = http.request(call.method.clone(), url);
        if let Some(host) = &self.host {
            request = request.header(header::HOST, host);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        request = match &call.body {
            Payload::Empty => request,
            Payload::Json(value) => request.json(value),
            Payload::Form(form) => request
                .header(header::CONTENT_TYPE, form.content_type())
                .body(reqwest::Body::wrap_stream(form.body().await?)),
        };
        let response = request.send().await.map_err(|error| unreachable_server(base, &error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes_stream().map_err(|error| anyhow!("connection lost: {}", root(&error)));
        Ok((status, headers, body.boxed()))
    }

    async fn send_here(&self, router: &Router, call: &Call) -> Result<Parts> {
        let mut request = http::Request::builder().method(call.method.clone()).uri(&call.path);
        if let Some(host) = &self.host {
            request = request.header(header::HOST, host);
        }
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let (content_type, body) = match &call.body {
            Payload::Empty => (None, Body::empty()),
            Payload::Json(value) => (Some("application/json".to_owned()), Body::from(value.to_string())),
            Payload::Form(form) => (Some(form.content_type()), Body::from_stream(form.body().await?)),
        };
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body).context("not a valid request")?;
        let response = match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let body = body.into_data_stream().map_err(anyhow::Error::from);
        Ok((parts.status.as_u16(), parts.headers, body.boxed()))
    }
}

type Parts = (u16, HeaderMap, BoxStream<'static, Result<Bytes>>);

async fn collect(mut body: BoxStream<'static, Result<Bytes>>) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.try_next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

fn unreachable_server(base: &reqwest::Url, error: &reqwest::Error) -> anyhow::Error {
    if error.is_connect() {
        let local = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let hint = if local { ": is `runyard dev` running?" } else { "" };
        return anyhow!("cannot reach {base} ({}){hint}", root(error));
    }
    NoResponse(format!("no response from {base}: {}", root(error))).into()
}

/// A request was sent and no response came: whether the server processed it is unknown.
#[derive(Debug)]
struct NoResponse(String);

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoResponse {}

/// The innermost cause, which is the most useful one.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// An error response of the server.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    message: String,
    details: Vec<(String, String)>,
    request_id: Option<String>,
}

impl Refused {
    fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let error = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let error = &error["error"];
        let message = error["message"].as_str().map_or_else(
            || {
                let code = http::StatusCode::from_u16(status).ok();
                code.and_then(|code| code.canonical_reason()).unwrap_or("no reason given").to_owned()
            },
            str::to_owned,
        );
        let details = error["details"].as_object().map_or_else(Vec::new, |details| {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            details.iter().map(|(field, what)| (field.clone(), text(what))).collect()
        });
        let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Self { status, message, details, request_id }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {} {}", self.status, self.message)?;
        for (field, what) in &self.details {
            write!(f, "\n  {field}: {what}")?;
        }
        if self.status == 401 {
            write!(
                f,
                "\n  give an access key with --key or in RUNYARD_KEY; `runyard keys create` makes one"
            )?;
        }
        if let (500.., Some(id)) = (self.status, &self.request_id) {
            write!(f, "\n  request id: {id}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
