//! One HTTP/1.1 connection: hyper, with the limits that it does not have by itself.

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

/// From the first byte of a request to the end of its headers.
const HEADERS: Duration = Duration::from_secs(10);
/// Between two requests.
const IDLE: Duration = Duration::from_secs(75);
/// How long a client may leave what we send unread.
const UNREAD: Duration = Duration::from_secs(30);
/// How often these are looked at: one timer a connection, none a request.
const LOOK: Duration = Duration::from_secs(2);
/// Of a request's headers.
const HEADER_BYTES: usize = 64 << 10;
/// Of a request.
const HEADER_COUNT: usize = 100;

/// When connections end.
#[derive(Clone, Default)]
pub(crate) struct Ends {
    /// After the request in progress.
    pub(crate) drain: CancellationToken,
    /// At once: a stream of events ends where it is, another request is answered 503.
    pub(crate) now: CancellationToken,
}

/// Serves a connection to its end.
pub(crate) async fn serve(stream: TcpStream, router: Router, ids: Arc<dyn Ids>, ends: Ends) {
    // A response is written whole: waiting for more to send would only cost latency.
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
                // Hyper polls us whenever the connection is polled, which is when the flag was raised.
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
        .max_header_size(HEADER_BYTES)
        .max_headers(HEADER_COUNT)
        .max_buf_size(HEADER_BYTES + (16 << 10))
        .half_close(false)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let (mut draining, mut ending) = (false, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
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
            () = tokio::time::sleep(LOOK) => {
                if let Some(why) = watch.overdue() {
                    tracing::debug!(why, "closing a connection");
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

/// In [`Watch::phase`], beside the milliseconds since [`Watch::start`].
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

    /// Why the connection has to be closed, if it has.
    fn overdue(&self) -> Option<&'static str> {
        let over =
            |since: u64, limit: Duration| Duration::from_millis(self.now().saturating_sub(since)) > limit;
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled != NOT_STALLED && over(stalled, UNREAD) {
            return Some("the client does not read what it is sent");
        }
        let phase = self.phase.load(Ordering::Relaxed);
        match phase & 3 {
            WAITING if over(phase >> 2, IDLE) => Some("no request came"),
            READING if over(phase >> 2, HEADERS) => Some("the headers of a request did not come"),
            _ => None,
        }
    }
}

/// From a request's headers to the last byte of its response's body.
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

/// Keeps `busy` until the response's body has been sent.
fn attach(response: Response, busy: Busy) -> Response<Sent> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let endless = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    response.map(|body| Sent { body, endless, busy })
}

/// A body that knows when it is done with.
struct Sent {
    body: Body,
    /// A stream of events, which may be cut between two of them.
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

/// The socket, watched.
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
            && let Some((head, status)) = hypers_own_refusal(data)
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

    /// Sends what stands before hyper's refusal in `data`, then a refusal in the contract's format in place of hyper's.
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
        // The connection ends here, and it is a few hundred bytes: if the socket does not take them, they are lost.
        match Pin::new(&mut self.stream).poll_write(context, refusal.as_bytes()) {
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Ready(Ok(data.len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

/// Where in `data` the response begins that hyper makes by itself to what is no HTTP, and its status.
///
/// It is told from the router's by its place, the last of what is written while no request is in progress, by having
/// no body, and by lacking `x-request-id`, which every response of the router carries.
fn hypers_own_refusal(data: &[u8]) -> Option<(usize, StatusCode)> {
    const END: &[u8] = b"\r\n\r\n";
    const LONGEST: usize = 256;
    let tail_start = data.len().saturating_sub(LONGEST);
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
            format!("more than {HEADER_COUNT} headers, or more than {} KiB of them", HEADER_BYTES >> 10)
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

/// To who still waits when the process is about to end.
fn unavailable(ids: &dyn Ids) -> Response {
    let request_id = ids.random().to_string();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let detail = "the server is shutting down; an accepted run goes on with the next one";
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
