//! One HTTP/1.1 connection: hyper, with limits that it lacks.

use crate::framing::Framing;
use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use runyard_runs::Ids;
use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Time from the first byte of a request to the end of its headers.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may leave sent bytes unread.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the timeouts are checked: one timer per connection, none per request.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of a request's headers at most.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Headers of a request at most.
const MAX_HEADER_COUNT: usize = 100;

/// Signals that end connections.
#[derive(Clone, Default)]
pub(crate) struct Ends {
    /// Ends a connection after the request in progress.
    pub(crate) drain: CancellationToken,
    /// Ends a connection at once: an event stream is cut, any other request is answered 503.
    pub(crate) now: CancellationToken,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(stream: TcpStream, router: Router, ids: Arc<dyn Ids>, ends: Ends) {
    // Responses are written whole, so Nagle's algorithm would only add latency.
    let _ = stream.set_nodelay(true);
    let watch = Arc::new(Watch::new());
    let io =
        Watched { stream, framing: Framing::default(), watch: Arc::clone(&watch), ids: Arc::clone(&ids) };
    let service = service_fn(|request: Request<Incoming>| {
        let busy = Busy::begin(&watch);
        let mut answer = router.clone().call(request.map(Body::new));
        let ids = Arc::clone(&ids);
        async move {
            let response = poll_fn(|context| match Pin::new(&mut answer).poll(context) {
                // Hyper polls this whenever it polls the connection, and raising the flag polls the connection.
                Poll::Pending if busy.0.ending.load(Ordering::Relaxed) => Poll::Ready(Ok(unavailable(&*ids))),
                polled => polled,
            });
            let response = match response.await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            Ok::<_, Infallible>(attach(response, busy))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADER_COUNT)
        .max_buf_size(MAX_HEADER_BYTES + (16 << 10))
        .half_close(false)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let (mut draining, mut ending) = (false, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection lost");
                }
                return;
            }
            () = ends.drain.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = ends.now.cancelled(), if !ending => {
                ending = true;
                watch.ending.store(true, Ordering::Relaxed);
            }
            () = tokio::time::sleep(CHECK_INTERVAL) => {
                if let Some(why) = watch.overdue() {
                    tracing::debug!(why, "closing connection");
                    return;
                }
            }
        }
    }
}

/// What a connection is doing, and since when.
struct Watch {
    start: Instant,
    phase: AtomicU64,
    stalled: AtomicU64,
    refused: AtomicBool,
    ending: AtomicBool,
}

/// The phases in the low two bits of [`Watch::phase`]; the others hold milliseconds since [`Watch::start`].
const WAITING: u64 = 0;
const READING: u64 = 1;
const BUSY: u64 = 2;
const NOT_STALLED: u64 = u64::MAX;

impl Watch {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            phase: AtomicU64::new(WAITING),
            stalled: AtomicU64::new(NOT_STALLED),
            refused: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }

    fn enter(&self, phase: u64) {
        self.phase.store(self.now() << 2 | phase, Ordering::Relaxed);
    }

    fn phase(&self) -> u64 {
        self.phase.load(Ordering::Relaxed) & 3
    }

    /// Returns why the connection must be closed, if it must.
    fn overdue(&self) -> Option<&'static str> {
        let over =
            |since: u64, limit: Duration| Duration::from_millis(self.now().saturating_sub(since)) > limit;
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled != NOT_STALLED && over(stalled, UNREAD_TIMEOUT) {
            return Some("the client does not read");
        }
        let phase = self.phase.load(Ordering::Relaxed);
        match phase & 3 {
            WAITING if over(phase >> 2, IDLE_TIMEOUT) => Some("no request within the idle timeout"),
            READING if over(phase >> 2, HEADERS_TIMEOUT) => Some("incomplete headers within the timeout"),
            _ => None,
        }
    }
}

/// Lives from a request's headers to the last byte of its response's body.
struct Busy(Arc<Watch>);

impl Busy {
    fn begin(watch: &Arc<Watch>) -> Self {
        watch.enter(BUSY);
        Self(Arc::clone(watch))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(WAITING);
    }
}

/// Keeps `busy` until the response's body is sent.
fn attach(response: Response, busy: Busy) -> Response<Sent> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let endless = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    response.map(|body| Sent { body, endless, busy })
}

/// A body that holds [`Busy`] until it is dropped.
struct Sent {
    body: Body,
    /// An event stream, which may be cut between two events.
    endless: bool,
    busy: Busy,
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.endless && self.busy.0.ending.load(Ordering::Relaxed) => Poll::Ready(None),
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// The socket, with its bytes inspected and its progress recorded.
struct Watched {
    stream: TcpStream,
    framing: Framing,
    watch: Arc<Watch>,
    ids: Arc<dyn Ids>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.framing.look(&mut buffer.filled_mut()[before..]);
            if self.watch.phase() == WAITING {
                self.watch.enter(READING);
            }
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.watch.phase() != BUSY
            && !self.watch.refused.load(Ordering::Relaxed)
            && let Some((head, status)) = refusal_by_hyper(data)
        {
            return self.refuse(context, data, head, status);
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, data);
        self.note(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [slice] = slices {
            return self.poll_write(context, slice);
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Watched {
    fn note<T>(&self, polled: &Poll<T>) {
        if polled.is_ready() {
            self.watch.stalled.store(NOT_STALLED, Ordering::Relaxed);
        } else {
            let now = self.watch.now();
            let _ =
                self.watch.stalled.compare_exchange(NOT_STALLED, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Sends what precedes hyper's refusal in `data`, then replaces the refusal by one in the contract's format.
    fn refuse(
        &mut self,
        context: &mut Context<'_>,
        data: &[u8],
        head: usize,
        status: StatusCode,
    ) -> Poll<io::Result<usize>> {
        if head > 0 {
            return Pin::new(&mut self.stream).poll_write(context, &data[..head]);
        }
        self.watch.refused.store(true, Ordering::Relaxed);
        let refusal = refusal(status, &self.ids.random().to_string());
        // The connection ends here. If the socket does not take these few hundred bytes at once, they are lost.
        match Pin::new(&mut self.stream).poll_write(context, refusal.as_bytes()) {
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Ready(Ok(data.len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

/// Returns where in `data` hyper's own response to invalid HTTP begins, and its status.
///
/// It differs from the router's responses by its position, at the end of what is written while no request is in
/// progress, by its empty body, and by the missing `x-request-id`, which every response of the router has.
fn refusal_by_hyper(data: &[u8]) -> Option<(usize, StatusCode)> {
    const END: &[u8] = b"\r\n\r\n";
    const MAX_BYTES: usize = 256;
    let tail_start = data.len().saturating_sub(MAX_BYTES);
    let tail = &data[tail_start..];
    let start = tail.windows(13).rposition(|window| {
        window == b"HTTP/1.1 400 " || window == b"HTTP/1.1 414 " || window == b"HTTP/1.1 431 "
    })?;
    let head = &tail[start..];
    let lower = head.to_ascii_lowercase();
    let has = |text: &[u8]| lower.windows(text.len()).any(|window| window == text);
    let ends_once = head.windows(4).position(|window| window == END)? == head.len() - 4;
    if !ends_once || !has(b"content-length: 0\r\n") || has(b"\r\nx-request-id:") {
        return None;
    }
    let status = StatusCode::from_bytes(&head[9..12]).ok()?;
    Some((tail_start + start, status))
}

fn refusal(status: StatusCode, request_id: &str) -> String {
    let detail = match status {
        StatusCode::URI_TOO_LONG => "the request's target is too long".to_owned(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            format!(
                "more than {MAX_HEADER_COUNT} headers, or more than {} KiB of them",
                MAX_HEADER_BYTES >> 10
            )
        }
        _ => "this is not a valid HTTP request with one valid `Host`".to_owned(),
    };
    let body = error_body(status, &detail, request_id);
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
         x-request-id: {request_id}\r\n\r\n{body}",
        body.len(),
    )
}

/// The response to requests that still wait when the process is about to end.
fn unavailable(ids: &dyn Ids) -> Response {
    let request_id = ids.random().to_string();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let detail = "the server is shutting down; an accepted run resumes on the next server";
    let mut response = Response::new(Body::from(error_body(status, detail, &request_id)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-request-id", request_id);
    }
    response
}

/// An error in the contract's format.
fn error_body(status: StatusCode, detail: &str, request_id: &str) -> String {
    let message = status.canonical_reason().unwrap_or("Error");
    serde_json::json!({
        "error": {
            "code": message.to_ascii_lowercase().replace([' ', '-'], "_"),
            "message": message,
            "details": { "request": detail },
            "request_id": request_id,
        }
    })
    .to_string()
}
