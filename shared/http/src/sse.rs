//! Server-Sent Events: a run's events, as they happen.

use crate::{Api, Deadline, error::Error, wire};
use axum::{body::Body, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    StreamExt,
    stream::{self, BoxStream, ReadyChunks},
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use runyard_runs::{App, AppId, RunEvent, RunId, RunStatus, StoreError};
use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

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
}

/// The response that sends events, with what its route adds to the headers.
pub(crate) fn response(api: &Api, source: Source, place: Place) -> Response {
    let leave = source.deadline.map(|deadline| deadline.hand_over_at.since(api.clock.now()));
    let shutting_down = api.service.shutting_down();
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
        over: false,
        _place: place,
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
    over: bool,
    _place: Place,
}

impl Sender {
    /// What to send next; `None` once the response is to end.
    async fn frame(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let events = tokio::select! {
            biased;
            events = timeout(self.api.config.heartbeat, self.events.next()) => events,
            // The client comes back to a server that stays, and misses nothing.
            () = &mut self.leave => return None,
        };
        let Ok(events) = events else {
            return if self.waits_too_long().await { None } else { Some(Bytes::from_static(HEARTBEAT)) };
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

/// How many streams are open, by app.
#[derive(Default)]
pub(crate) struct OpenStreams {
    open: Mutex<HashMap<AppId, u32>>,
}

impl OpenStreams {
    /// A place for one more stream of the app; 429 if it has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, app: &App, most: u32) -> Result<Place, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(app.id).or_default();
        if *count >= most {
            let problem = format!("{most} streams of this app are open, as many as may be");
            return Err(Error::of(StatusCode::TOO_MANY_REQUESTS, "stream", problem)
                .retry_after(Duration::from_secs(1)));
        }
        *count += 1;
        Ok(Place { streams: Arc::clone(self), app: app.id })
    }
}

/// One open stream's place, until it is dropped.
pub(crate) struct Place {
    streams: Arc<OpenStreams>,
    app: AppId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.app) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.app);
            }
        }
    }
}
