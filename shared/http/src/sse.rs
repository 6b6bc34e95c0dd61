//! Server-Sent Events: a run's events, as they happen.

use crate::{Api, error::Error, wire};
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
use runyard_runs::{App, AppId, RunEvent, RunId, StoreError};
use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// So many events that are ready go into one frame of the body.
const TOGETHER: usize = 64;

const HEARTBEAT: &[u8] = b": heartbeat\n\n";

/// The response that sends `events`, with what its route adds to the headers.
pub(crate) fn response(
    api: &Api,
    run: RunId,
    events: BoxStream<'static, Result<RunEvent, StoreError>>,
    place: Place,
) -> Response {
    let sender = Sender {
        run,
        events: events.ready_chunks(TOGETHER),
        buffer: BytesMut::new(),
        silence: api.config.heartbeat,
        shutting_down: Box::pin(api.service.shutting_down()),
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
    run: RunId,
    events: ReadyChunks<BoxStream<'static, Result<RunEvent, StoreError>>>,
    buffer: BytesMut,
    silence: Duration,
    shutting_down: Pin<Box<dyn Future<Output = ()> + Send>>,
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
            events = timeout(self.silence, self.events.next()) => events,
            // The client comes back to a server that stays, and misses nothing.
            () = &mut self.shutting_down => return None,
        };
        let Ok(events) = events else { return Some(Bytes::from_static(HEARTBEAT)) };
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
