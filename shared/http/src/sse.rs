//! Sends a run's events as Server-Sent Events, as they happen.

use crate::{Api, Deadline, auth::Access, error::Error, unsent, wire};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use runyard_runs::{App, OpenStreams, RunEvent, RunId, RunStatus, StoreError, StreamPermit};
use std::{convert::Infallible, future::Future, io::Write, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

/// Bytes up to which events that are ready share a frame of the body. For a client that does not read, the server holds
/// this much, or a single larger event.
const FRAME_BYTES: usize = 256 << 10;

/// How long a large frame waits for memory; then the stream ends, and its client reconnects.
const MEMORY_WAIT: Duration = Duration::from_secs(10);

/// How often a waiting frame tries to take memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);

const HEARTBEAT: &[u8] = b": heartbeat\n\n";

/// What a stream sends, and when it ends.
pub(crate) struct Source {
    /// The app of the run.
    pub(crate) app: Arc<App>,
    /// The run whose events are sent.
    pub(crate) run: RunId,
    /// The events of the run.
    pub(crate) events: BoxStream<'static, Result<RunEvent, StoreError>>,
    /// When the platform ends the response.
    pub(crate) deadline: Option<Deadline>,
    /// The caller's access, rechecked while the stream is open.
    pub(crate) access: Access,
}

/// Returns a response that streams events. The route adds its own headers.
pub(crate) fn response(api: &Api, source: Source, place: OpenStream) -> Response {
    let leave = source.deadline.map(|deadline| deadline.hand_over_at.since(api.clock.now()));
    let shutting_down = api.service.shutting_down();
    let (access, watched) = (source.access, api.clone());
    let sender = Sender {
        api: api.clone(),
        app: source.app,
        run: source.run,
        events: source.events,
        silent_since: Instant::now(),
        leave: Box::pin(async move {
            match leave {
                Some(after) => drop(timeout(after, shutting_down).await),
                None => shutting_down.await,
            }
        }),
        refused: Box::pin(async move { drop(access.ended(&watched).await) }),
        over: false,
        place,
    };
    let frames = stream::unfold(sender, |mut sender| async move {
        let frame = sender.frame().await?;
        Some((Ok::<_, Infallible>(frame), sender))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Sender {
    api: Api,
    app: Arc<App>,
    run: RunId,
    events: BoxStream<'static, Result<RunEvent, StoreError>>,
    /// When the last event was sent.
    silent_since: Instant,
    /// Completes when the server shuts down, or the response must end for the platform.
    leave: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Completes once the caller is no longer allowed to read the events.
    refused: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
    place: OpenStream,
}

impl Sender {
    /// Returns the next frame; `None` once the response must end.
    async fn frame(&mut self) -> Option<Bytes> {
        let frame = self.next().await;
        if frame.is_none() {
            Box::pin(self.place.leave()).await;
        }
        frame
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let event = tokio::select! {
            biased;
            // Before the events, which may arrive without a pause. A client that reconnects gets the reason.
            () = &mut self.refused => return None,
            event = timeout(self.api.config.heartbeat, self.events.next()) => event,
            // The client reconnects to another server, and misses no event.
            () = &mut self.leave => return None,
        };
        let Ok(event) = event else {
            // Boxed: it is rare, and would enlarge the future of every stream.
            let leaves = Box::pin(self.waits_too_long()).await;
            return if leaves { None } else { Some(Bytes::from_static(HEARTBEAT)) };
        };
        self.silent_since = Instant::now();
        let mut frame = Vec::new();
        let mut event = Some(event?);
        while let Some(next) = event.take() {
            match next {
                Ok(event) => {
                    self.over = event.body.ends_as().is_some();
                    write(&mut frame, &event);
                }
                // An error is never written to the body: the client sees the end of the response, and reconnects.
                Err(error) => {
                    tracing::error!(run = %self.run, %error, "stream ended early: store failed");
                    self.over = true;
                }
            }
            if !self.over && frame.len() < FRAME_BYTES {
                event = self.events.next().now_or_never().flatten();
            }
        }
        if frame.is_empty() { None } else { self.held(frame).await }
    }

    /// Takes memory for a frame, and returns it; `None` if there is not enough memory.
    async fn held(&mut self, mut frame: Vec<u8>) -> Option<Bytes> {
        let give_up = Instant::now() + MEMORY_WAIT;
        loop {
            match unsent::take(self.api.service.memory(), self.app.id, &mut frame) {
                Ok(memory) => return Some(unsent::until_sent(frame, memory)),
                Err(_) if Instant::now() < give_up => tokio::time::sleep(MEMORY_INTERVAL).await,
                Err(error) => {
                    tracing::warn!(run = %self.run, %error, "stream ended early: out of memory");
                    self.over = true;
                    return None;
                }
            }
        }
    }

    /// Returns whether the stream of a paused run has been open and silent for [`paused_stream`](crate::Config::paused_stream).
    /// Reads the run at most once in that time, since the run may have been paused before the client connected.
    async fn waits_too_long(&mut self) -> bool {
        let Some(stay) = self.api.config.paused_stream else { return false };
        if self.silent_since.elapsed() < stay {
            return false;
        }
        self.silent_since = Instant::now();
        let run = self.api.service.get(&self.app, self.run).await;
        run.is_ok_and(|run| run.status == RunStatus::Paused)
    }
}

fn write(frame: &mut Vec<u8>, event: &RunEvent) {
    let written = frame.len();
    let (sequence, name) = (event.sequence, event.body.name());
    let head = frame.write_fmt(format_args!("id: {sequence}\nevent: {name}\ndata: "));
    // Compact JSON has no line breaks, so the event is one line of data.
    if head.is_ok() && serde_json::to_writer(&mut *frame, &wire::RunEvent(event)).is_ok() {
        frame.extend_from_slice(b"\n\n");
    } else {
        frame.truncate(written);
    }
}

/// The permit for one open stream, out of a limited number per app. Returned by [`OpenStream::leave`], or when it is dropped,
/// for example because the client disconnected.
pub(crate) struct OpenStream {
    streams: Arc<dyn OpenStreams>,
    taken: Option<StreamPermit>,
}

impl OpenStream {
    /// Takes a permit for one more stream of the app; 429 if its limit is reached.
    pub(crate) async fn take(api: &Api, app: &App) -> Result<Self, Error> {
        let limit = api.config.streams_per_app;
        let taken = api.streams.enter(app.id, limit).await?;
        if taken.is_none() {
            let problem = format!("open stream limit reached: {limit} streams of this app; try again");
            return Err(Error::of(StatusCode::TOO_MANY_REQUESTS, "stream", problem)
                .retry_after(Duration::from_secs(1)));
        }
        Ok(Self { streams: Arc::clone(&api.streams), taken })
    }

    /// Returns the permit before the response ends: the process may be suspended from then on.
    pub(crate) async fn leave(&mut self) {
        if let Some(place) = self.taken.take()
            && let Err(error) = self.streams.leave(place).await
        {
            tracing::warn!(%error, "ended stream is still counted: store failed");
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let (streams, taken) = (Arc::clone(&self.streams), self.taken.take());
        if taken.is_none() {
            return;
        }
        let mut leaving = async move { Self { streams, taken }.leave().await }.boxed();
        // A count in memory is updated immediately.
        if (&mut leaving).now_or_never().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(leaving);
        }
    }
}
