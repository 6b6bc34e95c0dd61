//! `GET /v1/runs/{run_id}/stream`: streams the events of a run as Server-Sent Events.

use super::run_path::RunPath;
use crate::{
    Api, Deadline,
    auth::WithKeyOrPublic,
    error::{
        BadRequest, Error, Forbidden, InternalServerError, NotFound, ServiceUnavailable, TooManyRequests,
        Unauthorized,
    },
    query::Query,
    sse::{self, OpenStream, Source},
    wire::RunEvent,
};
use axum::{extract::State, response::Response};
use http::{Extensions, HeaderMap, HeaderName, Uri};
use runyard_runs::Sequence;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Streams the events of a run as Server-Sent Events: from the start, or after one that the client has seen.
///
/// For each event `id: <sequence>`, `event: <type>`, `data: <the event as JSON>` and an empty line; `: heartbeat` after
/// 15 s of silence. Ends after the terminal event; a client that has not seen one reconnects with `Last-Event-ID`. Also ends
/// within 30 s once the caller is no longer allowed to follow the run, for example because its key was revoked.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}/stream",
    operation_id = "stream_run",
    tag = "runs",
    params(
        ("run_id" = Uuid, Path, description = "The run."),
        ("after_sequence" = Option<u64>, Query, description = "The last event that the client has seen.", minimum = 1, nullable = false),
        ("Last-Event-ID" = Option<i64>, Header, description = "The same; overrides `after_sequence`. `-1`: from the start.", minimum = -1, nullable = false),
    ),
    responses(
        (
            status = 200,
            description = "The stream. The schema is that of each event's `data` line.",
            content_type = "text/event-stream",
            body = RunEvent,
            headers(
                ("Cache-Control" = String, description = "`no-store`"),
                ("X-Accel-Buffering" = String, description = "`no`"),
            ),
        ),
        (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
        (status = 429, response = TooManyRequests),
        (status = 500, response = InternalServerError),
        (status = 503, response = ServiceUnavailable),
    ),
)]
pub(crate) async fn handle(
    State(api): State<Api>,
    WithKeyOrPublic(caller): WithKeyOrPublic,
    RunPath(run): RunPath,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Error> {
    let after = after(&uri, &headers)?;
    let events = api.service.follow(&caller.app, run, after).await?;
    let place = OpenStream::take(&api, &caller.app).await?;
    let deadline = Deadline::of(&extensions);
    let access = caller.access();
    Ok(sse::response(&api, Source { app: caller.app, run, events, deadline, access }, place))
}

/// Returns the last event that the client has seen. A browser that reconnects sends the header and the query of its first
/// request, so the header is newer.
fn after(uri: &Uri, headers: &HeaderMap) -> Result<Sequence, Error> {
    let mut query = Query::of(uri);
    let problem = "must be the sequence of an event, from 1";
    let given: Option<Sequence> = query.parsed("after_sequence", problem);
    if given == Some(0) {
        query.wrong("after_sequence", problem);
    }
    let mut seen = None;
    if let Some(header) = headers.get(LAST_EVENT_ID) {
        seen = header.to_str().ok().and_then(|text| match text.trim() {
            "-1" => Some(0),
            text => text.parse().ok(),
        });
        if seen.is_none() {
            query.wrong("Last-Event-ID", "must be the sequence of an event, or -1 for the start");
        }
    }
    query.check()?;
    // No log has i64::MAX events, and a store may use i64.
    Ok(seen.or(given).unwrap_or(0).min(i64::MAX.unsigned_abs() - 1))
}
