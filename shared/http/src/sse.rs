//! Server-Sent Events: a run's events, as they happen.

use crate::{Api, Deadline, auth::Access, error::Error, wire};
use axum::{body::Body, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream, ReadyChunks},
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use runyard_runs::{App, OpenStreams, RunEvent, RunId, RunStatus, StoreError, StreamPlace};
use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

/// So many events that are ready go into one frame of the body.
const TOGETHER: usize = 64;

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
        events: source.events.ready_chunks(TOGETHER),
        buffer: BytesMut::new(),
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
    events: ReadyChunks<BoxStream<'static, Result<RunEvent, StoreError>>>,
    buffer: BytesMut,
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
        let events = tokio::select! {
            biased;
            // Before the events: they may come without a pause. Who comes back is told why.
            () = &mut self.refused => return None,
            events = timeout(self.api.config.heartbeat, self.events.next()) => events,
            // The client comes back to a server that stays, and misses nothing.
            () = &mut self.leave => return None,
        };
        let Ok(events) = events else {
            // Boxed, as it is rare, and would make every stream larger.
            let leaves = Box::pin(self.waits_too_long()).await;
            return if leaves { None } else { Some(Bytes::from_static(HEARTBEAT)) };
        };
        self.silent_since = Instant::now();
        for event in events? {
            match event {
                Ok(event) => {
                    self.over = event.body.ends_as().is_some();
                    write(&mut self.buffer, &event);
                }
                // An error never goes into the body: the client sees the end of the response, and comes back.
                Err(error) => {
                    tracing::error!(run = %self.run, %error, "a stream ends early: the store failed");
                    self.over = true;
                }
            }
            if self.over {
                break;
            }
        }
        if self.buffer.is_empty() { None } else { Some(self.buffer.split().freeze()) }
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

fn write(buffer: &mut BytesMut, event: &RunEvent) {
    let written = buffer.len();
    let mut writer = buffer.writer();
    let (sequence, name) = (event.sequence, event.body.name());
    let head = std::io::Write::write_fmt(&mut writer, format_args!("id: {sequence}\nevent: {name}\ndata: "));
    // JSON has no line break of its own, so the event is one line of data.
    if head.is_ok() && serde_json::to_writer(&mut writer, &wire::RunEvent(event)).is_ok() {
        buffer.put_slice(b"\n\n");
    } else {
        buffer.truncate(written);
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
