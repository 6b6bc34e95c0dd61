//! Server-Sent Events: a run's events, as they happen.

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
use runyard_runs::{App, OpenStreams, RunEvent, RunId, RunStatus, StoreError, StreamPlace};
use std::{convert::Infallible, future::Future, io::Write, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

/// Events that are ready share a frame of the body up to this many bytes. This is also what a client that does not
/// read has the server hold, and a single larger event.
const FRAME: usize = 256 << 10;

/// How long a large frame waits for memory; then the stream ends, and its client comes back.
const MEMORY_WAIT: Duration = Duration::from_secs(10);

/// How often it is looked for.
const MEMORY_LOOK: Duration = Duration::from_millis(100);

const HEARTBEAT: &[u8] = b": heartbeat\n\n";

/// What a stream sends, and until when.
pub(crate) struct Source {
    /// The app.
    pub(crate) app: Arc<App>,
    /// The run.
    pub(crate) run: RunId,
    /// Its events.
    pub(crate) events: BoxStream<'static, Result<RunEvent, StoreError>>,
    /// When the platform wants the response to end.
    pub(crate) deadline: Option<Deadline>,
    /// For how long the caller may have them.
    pub(crate) access: Access,
}

/// The response that sends events, with what its route adds to the headers.
pub(crate) fn response(api: &Api, source: Source, place: Place) -> Response {
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
    /// Since when there was no event.
    silent_since: Instant,
    /// Returns when the server shuts down, or the platform wants the response to end.
    leave: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Returns once the caller may not have the events any more.
    refused: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
    place: Place,
}

impl Sender {
    /// What to send next; `None` once the response is to end.
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
            // Before the events: they may come without a pause. Who comes back is told why.
            () = &mut self.refused => return None,
            event = timeout(self.api.config.heartbeat, self.events.next()) => event,
            // The client comes back to a server that stays, and misses nothing.
            () = &mut self.leave => return None,
        };
        let Ok(event) = event else {
            // Boxed, as it is rare, and would make every stream larger.
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
                // An error never goes into the body: the client sees the end of the response, and comes back.
                Err(error) => {
                    tracing::error!(run = %self.run, %error, "a stream ends early: the store failed");
                    self.over = true;
                }
            }
            if !self.over && frame.len() < FRAME {
                event = self.events.next().now_or_never().flatten();
            }
        }
        if frame.is_empty() { None } else { self.held(frame).await }
    }

    /// A frame that is to be sent; `None` if there is no memory for it.
    async fn held(&mut self, mut frame: Vec<u8>) -> Option<Bytes> {
        let give_up = Instant::now() + MEMORY_WAIT;
        loop {
            match unsent::take(self.api.service.memory(), self.app.id, &mut frame) {
                Ok(memory) => return Some(unsent::until_sent(frame, memory)),
                Err(_) if Instant::now() < give_up => tokio::time::sleep(MEMORY_LOOK).await,
                Err(error) => {
                    tracing::warn!(run = %self.run, %error, "a stream ends early");
                    self.over = true;
                    return None;
                }
            }
        }
    }

    /// Whether the run waits for a person, longer than a stream stays for that. Looks once in that time: a client may have
    /// come when the run was paused already.
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
    // JSON has no line break of its own, so the event is one line of data.
    if head.is_ok() && serde_json::to_writer(&mut *frame, &wire::RunEvent(event)).is_ok() {
        frame.extend_from_slice(b"\n\n");
    } else {
        frame.truncate(written);
    }
}

/// One open stream's place among those that its app may have. Given back by [`Place::leave`], or when it is dropped, as
/// when the client goes away.
pub(crate) struct Place {
    streams: Arc<dyn OpenStreams>,
    taken: Option<StreamPlace>,
}

impl Place {
    /// A place for one more stream of the app; 429 if it has as many as it may.
    pub(crate) async fn take(api: &Api, app: &App) -> Result<Self, Error> {
        let most = api.config.streams_per_app;
        let taken = api.streams.enter(app.id, most).await?;
        if taken.is_none() {
            let problem = format!("{most} streams of this app are open, as many as may be");
            return Err(Error::of(StatusCode::TOO_MANY_REQUESTS, "stream", problem)
                .retry_after(Duration::from_secs(1)));
        }
        Ok(Self { streams: Arc::clone(&api.streams), taken })
    }

    /// Gives it back before the response ends: its process may stand still from then on.
    pub(crate) async fn leave(&mut self) {
        if let Some(place) = self.taken.take()
            && let Err(error) = self.streams.leave(place).await
        {
            tracing::warn!(%error, "a stream that has ended stays counted for a while: the store failed");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (streams, taken) = (Arc::clone(&self.streams), self.taken.take());
        if taken.is_none() {
            return;
        }
        let mut leaving = async move { Self { streams, taken }.leave().await }.boxed();
        // What counts in memory is done at once.
        if (&mut leaving).now_or_never().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(leaving);
        }
    }
}
