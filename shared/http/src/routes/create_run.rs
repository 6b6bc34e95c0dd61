//! `POST /v1/runs`: creates a run: sync, background or streaming.

use super::large_json;
use crate::{
    Api, Deadline,
    auth::{Access, Caller, WithKeyOrPublic},
    body::{self, Content, Pieces},
    deadline,
    error::{
        BadRequest, Conflict, Error, Forbidden, InternalServerError, NotFound, PayloadTooLarge,
        RequestTimeout, ServiceUnavailable, TooManyRequests, Unauthorized, UnsupportedMediaType,
    },
    fields::{Fields, USER_ID},
    form, idempotency, quota,
    sse::{self, OpenStream, Source},
    upload::Uploads,
    wire::{CreateRun, CreateRunForm, MOST_FILES, RunAnswer, RunEvent},
};
use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use runyard_runs::{
    App, FileId, FileStore, Run, RunService,
    service::create::{self, Created, Idempotency, Mode},
};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::timeout;

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Maximum of `Prefer: wait`, in seconds.
const MAX_WAIT_SECONDS: u64 = 60;

/// How long after a shutdown begins a waiting caller gets its run in its current state.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);

/// Creates a run.
///
/// By default the response is sent when the run has ended, even if it failed (`status: "failed"`, `error`), or with
/// `status: "awaiting_input"` once the run cannot continue without a person. `background` answers 202 immediately.
/// `stream` answers with the events as Server-Sent Events (see `GET /v1/runs/{run_id}/stream`). A client that disconnects
/// does not affect the run.
#[utoipa::path(
    post,
    path = "/v1/runs",
    operation_id = "create_run",
    tag = "runs",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "A repeat with the same request returns the same run; with another request, 409. Scoped to the app and access key, for 24 hours. Without an access key, it must be a random UUID (version 4).", min_length = 1, max_length = 255, nullable = false),
        ("Prefer" = Option<String>, Header, description = "`wait=N` waits for a background run for up to N seconds, at most 60.", example = "wait=10", nullable = false),
    ),
    request_body(content(
        (CreateRun = "application/json"),
        (CreateRunForm = "multipart/form-data"),
    )),
    responses(
        (
            status = 200,
            description = "The run, ended or waiting for a person; or, with `stream`, its events: the schema is that of each event's `data` line.",
            content(
                (RunAnswer = "application/json"),
                (RunEvent = "text/event-stream"),
            ),
            headers(
                ("Location" = String, description = "The path of the run."),
                ("Idempotency-Replayed" = String, description = "`true` if an earlier request with the same key created the run."),
            ),
        ),
        (
            status = 202,
            description = "The background run as created; after `Prefer: wait`, its current state.",
            body = RunAnswer,
            headers(
                ("Location" = String, description = "The path of the run."),
                ("Idempotency-Replayed" = String, description = "`true` if an earlier request with the same key created the run."),
                ("Preference-Applied" = String, description = "`wait=N`, with the seconds that were granted."),
            ),
        ),
        (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
        (status = 408, response = RequestTimeout),
        (status = 409, response = Conflict),
        (status = 413, response = PayloadTooLarge),
        (status = 415, response = UnsupportedMediaType),
        (status = 429, response = TooManyRequests),
        (status = 500, response = InternalServerError),
        (status = 503, response = ServiceUnavailable),
    ),
)]
pub(crate) async fn handle(
    State(api): State<Api>,
    WithKeyOrPublic(caller): WithKeyOrPublic,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let deadline = Deadline::of(&parts.extensions);
    let content = Content::of(&parts.headers)?;
    let key = idempotency::key(&parts.headers, &caller)?;
    let body = quota::admit(&api, &caller.app, &parts.headers, &content, body).await?;
    let (fields, uploads) = match content {
        Content::Json => {
            let object = body::json(&api, &caller.app, &parts.headers, body).await?;
            (Fields::new(object), Uploads::new(&api.service, &caller.app, false))
        }
        Content::Multipart { boundary } => {
            let pieces = Pieces::of_multipart(&parts.headers, body, &api.config);
            form::read(&api, &caller.app, pieces, &boundary, key.is_some()).await?
        }
    };
    let request = CreateRun::parse(fields, &caller.app, uploads.len(), api.config.json_bytes)?;
    if caller.key().is_none() && !request.file_ids.is_empty() {
        // Anyone who follows a run may see the ids of its files, but the files belong to key holders.
        let problem =
            "refer to files that key holders stored: without an access key, send the files with the request";
        return Err(Error::key_needed().and("file_ids", problem));
    }
    let key = key.map(|key| idempotency::of(key, &caller, &request, uploads.received()));
    if request.stream {
        let mut place = OpenStream::take(&api, &caller.app).await?;
        let created = match create(&api, &caller, request, key, uploads, deadline).await {
            Ok(created) => created,
            Err(error) => {
                place.leave().await;
                return Err(error);
            }
        };
        let (run, replayed) = (created.run.new.id, created.replayed);
        let events = api.service.follow_created(created);
        let access = caller.access();
        let response = sse::response(&api, Source { app: caller.app, run, events, deadline, access }, place);
        return Ok(with_headers(response, run, replayed));
    }
    let background = request.background;
    let created = create(&api, &caller, request, key, uploads, deadline).await?;
    let (run, replayed) = (created.run.new.id, created.replayed);
    let waiting = Waiting::of(api, caller, deadline);
    let response = if background {
        waiting.in_background(created, wait(&parts.headers)).await?
    } else {
        waiting.until_its_end(created).await?
    };
    Ok(with_headers(response, run, replayed))
}

impl CreateRun {
    fn parse(mut fields: Fields, app: &App, uploads: usize, json_bytes: u64) -> Result<Self, Error> {
        let request = Self {
            input: fields.required_object("input"),
            user_id: fields.text("user_id", USER_ID),
            session_id: fields.uuid("session_id"),
            stream: fields.flag("stream").unwrap_or_default(),
            background: fields.flag("background").unwrap_or_default(),
            file_ids: fields.uuids("file_ids", MOST_FILES).into_iter().map(FileId).collect(),
            metadata: fields.labels("metadata"),
        };
        if request.stream && request.background {
            let problem = "`stream` and `background` are mutually exclusive";
            fields.wrong("stream", problem);
            fields.wrong("background", problem);
        }
        if request.file_ids.len() + uploads > MOST_FILES {
            fields.wrong("files", format!("a run takes at most {MOST_FILES} files"));
        }
        // Accepting callbacks that are never delivered would mislead the caller.
        if fields
            .any("callbacks")
            .is_some_and(|callbacks| callbacks.as_array().is_none_or(|list| !list.is_empty()))
        {
            fields.wrong("callbacks", "are not supported yet: follow the run instead");
        }
        let limit = app.limits.input_bytes;
        // Otherwise the limit of the body applies.
        if limit < json_bytes && serde_json::to_writer(ByteLimit { left: limit }, &request.input).is_err() {
            fields.wrong("input", format!("must have at most {limit} bytes as JSON"));
        }
        fields.check()?;
        Ok(request)
    }
}

/// Counts written bytes, and fails once they exceed `left`.
struct ByteLimit {
    left: u64,
}

impl std::io::Write for ByteLimit {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(std::io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn create(
    api: &Api,
    caller: &Caller,
    request: CreateRun,
    idempotency: Option<Idempotency>,
    uploads: Uploads,
    deadline: Option<Deadline>,
) -> Result<Created, Error> {
    let service = deadline::limited(&api.service, deadline);
    let mode = match (request.stream, request.background) {
        (true, _) => Mode::Stream,
        (_, true) => Mode::Background,
        _ => Mode::Sync,
    };
    let CreateRun { input, user_id, session_id, metadata, file_ids, .. } = request;
    let origin = caller.origin();
    let request =
        create::CreateRun { input, user_id, session_id, metadata, file_ids, mode, idempotency, origin };
    if uploads.is_empty() {
        return Ok(service.create(&caller.app, request).await?);
    }
    // In a separate task: a client that disconnects must not stop it between the creation of the files and of the run.
    let creating = tokio::spawn(create_with_files(
        service,
        Arc::clone(&api.files),
        Arc::clone(&caller.app),
        request,
        uploads,
    ));
    creating.await.map_err(Error::internal)?
}

async fn create_with_files(
    service: RunService,
    files: Arc<dyn FileStore>,
    app: Arc<App>,
    mut request: create::CreateRun,
    uploads: Uploads,
) -> Result<Created, Error> {
    let stored = uploads.finish(files, Arc::clone(&app)).await?;
    request.file_ids.extend(stored.files().iter().map(|file| file.id));
    let created = service.create(&app, request).await;
    match &created {
        // The run already has the files of the first request.
        Ok(created) if created.replayed => stored.remove().await,
        Ok(_) => {}
        // The run may exist, and then it reads the files. Otherwise they expire.
        Err(create::Error::Store(_)) => {}
        Err(_) => stored.remove().await,
    }
    Ok(created?)
}

impl From<create::Error> for Error {
    fn from(error: create::Error) -> Self {
        match error {
            create::Error::Invalid(details) => Self::invalid(details),
            // Without the id of that run: on a public app it may belong to another caller.
            create::Error::Conflict { .. } => {
                Self::of(StatusCode::CONFLICT, "Idempotency-Key", "was used for another request")
            }
            create::Error::TooManyRuns { retry_after } => {
                let problem = "concurrent run limit reached: try again, or create the run with background";
                Self::of(StatusCode::TOO_MANY_REQUESTS, "app", problem).retry_after(retry_after)
            }
            create::Error::QuotaExceeded(error) => error.into(),
            create::Error::OutOfMemory(error) => error.into(),
            create::Error::ShuttingDown => {
                Self::of(StatusCode::SERVICE_UNAVAILABLE, "server", "is shutting down: try again")
                    .retry_after(Duration::from_secs(1))
            }
            create::Error::Store(error) => error.into(),
        }
    }
}

/// A caller that waits for a run.
pub(super) struct Waiting {
    api: Api,
    app: Arc<App>,
    access: Access,
    deadline: Option<Deadline>,
}

impl Waiting {
    pub(super) fn of(api: Api, caller: Caller, deadline: Option<Deadline>) -> Self {
        Self { api, access: caller.access(), app: caller.app, deadline }
    }

    pub(super) async fn in_background(self, created: Created, wait: Option<u64>) -> Result<Response, Error> {
        let Some(seconds) = wait else {
            return large_json(
                &self.api,
                &self.app,
                StatusCode::ACCEPTED,
                &RunAnswer { data: (&created.run).into() },
            );
        };
        let (api, app) = (self.api.clone(), Arc::clone(&self.app));
        let run = self.settled(created, Duration::from_secs(seconds)).await?;
        let mut response = large_json(&api, &app, StatusCode::ACCEPTED, &RunAnswer { data: (&run).into() })?;
        if let Ok(applied) = HeaderValue::from_str(&format!("wait={seconds}")) {
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
        Ok(response)
    }

    /// Returns the response of a sync run. With `sync_silence` it begins before the run has ended, with white space.
    async fn until_its_end(self, created: Created) -> Result<Response, Error> {
        let (silence, max_wait) = (self.api.config.sync_silence, self.api.config.sync_wait);
        let as_accepted = created.run.clone();
        let (api, app) = (self.api.clone(), Arc::clone(&self.app));
        let ended = |run: &Run| large_json(&api, &app, StatusCode::OK, &RunAnswer { data: run.into() });
        let mut run = Box::pin(async move { self.settled(created, max_wait).await });
        let Some(silence) = silence else {
            return ended(&run.await?);
        };
        if let Ok(run) = timeout(silence, &mut run).await {
            return ended(&run?);
        }
        let space = || Ok::<_, Infallible>(Bytes::from_static(b" "));
        let pieces = stream::unfold(Some((run, as_accepted)), move |waiting| async move {
            let (mut run, as_accepted) = waiting?;
            let Ok(settled) = timeout(silence, &mut run).await else {
                return Some((space(), Some((run, as_accepted))));
            };
            // The status was already sent: the body can still be the last known state of the run.
            let run = match settled {
                Ok(run) => run,
                // The caller lost access: the response ends, and a further request gets the error.
                Err(error) if error.status().is_client_error() => return None,
                Err(error) => {
                    let cause = error.cause().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(run = %as_accepted.new.id, error = %cause, "answered with the run as accepted: store failed");
                    as_accepted
                }
            };
            let body = serde_json::to_vec(&RunAnswer { data: (&run).into() }).unwrap_or_default();
            Some((Ok(body.into()), None))
        });
        let body = Body::from_stream(stream::once(async move { space() }).chain(pieces));
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    /// Waits until the run has ended or cannot continue without a person, and returns it. Returns its current state after
    /// `max_wait`, when the platform's time ends, or when the server shuts down. Fails once the caller loses access.
    async fn settled(&self, created: Created, max_wait: Duration) -> Result<Run, Error> {
        let as_accepted = created.run.clone();
        let max_wait = deadline::wait(&*self.api.clock, max_wait, self.deadline);
        let shut_down = async {
            self.api.service.shutting_down().await;
            tokio::time::sleep(SHUTDOWN_WAIT).await;
        };
        tokio::select! {
            biased;
            run = self.api.service.settled(created, max_wait) => Ok(run?),
            refused = self.access.ended(&self.api) => Err(refused),
            () = shut_down => match self.api.service.get(&self.app, as_accepted.new.id).await {
                Ok(run) => Ok(run),
                Err(_) => Ok(as_accepted),
            },
        }
    }
}

/// Returns the seconds of `Prefer: wait=N`. A malformed preference is ignored (RFC 7240, 2).
pub(super) fn wait(headers: &HeaderMap) -> Option<u64> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|header| header.to_str().ok());
    preferences.flat_map(|header| header.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds: u64 = value.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("wait").then_some(seconds.min(MAX_WAIT_SECONDS))
    })
}

pub(super) fn with_headers(mut response: Response, run: runyard_runs::RunId, replayed: bool) -> Response {
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/runs/{run}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    if replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::wait;
    use http::HeaderMap;

    #[test]
    fn wait_is_found_among_other_preferences() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", value.parse().unwrap());
            }
            wait(&headers)
        };
        assert_eq!(of(&["wait=10"]), Some(10));
        assert_eq!(of(&["respond-async, Wait = \"5\"; x=y"]), Some(5));
        assert_eq!(of(&["return=minimal", "wait=600"]), Some(60));
        assert_eq!(of(&["wait=soon"]), None);
        assert_eq!(of(&["wait=-1", "waiting=3"]), None);
        assert_eq!(of(&[]), None);
    }
}
