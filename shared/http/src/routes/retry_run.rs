//! `POST /v1/runs/{run_id}/retry`: creates a new run from one that failed or was canceled.

use super::{
    create_run::{Waiting, wait, with_headers},
    run_path::RunPath,
};
use crate::{
    Api,
    auth::WithKey,
    deadline::Deadline,
    error::{
        BadRequest, Conflict, Error, Forbidden, InternalServerError, NotFound, ServiceUnavailable,
        TooManyRequests, Unauthorized,
    },
    idempotency,
    wire::RunAnswer,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use runyard_runs::service::retry;

/// Creates a new background run from one that failed or was canceled, with the same input and the same version of the app.
/// Steps that the old run's log recorded as done, including people's answers, are not repeated; what failed is tried again.
/// The old run does not change. A body is not needed and not read. Needs a key, even if the app is public.
#[utoipa::path(
    post,
    path = "/v1/runs/{run_id}/retry",
    operation_id = "retry_run",
    tag = "runs",
    params(
        ("run_id" = Uuid, Path, description = "The run that failed or was canceled."),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeat for the same run returns the same new run; for another run, 409. Scoped to the app and access key, for 24 hours.", min_length = 1, max_length = 255, nullable = false),
        ("Prefer" = Option<String>, Header, description = "`wait=N` waits for the new run for up to N seconds, at most 60.", example = "wait=10", nullable = false),
    ),
    responses(
        (
            status = 202,
            description = "The new run as created, with `retry_of`; after `Prefer: wait`, its current state.",
            body = RunAnswer,
            headers(
                ("Location" = String, description = "The path of the new run."),
                ("Idempotency-Replayed" = String, description = "`true` if an earlier request with the same key created the run."),
                ("Preference-Applied" = String, description = "`wait=N`, with the seconds that were granted."),
            ),
        ),
        (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 429, response = TooManyRequests),
        (status = 500, response = InternalServerError),
        (status = 503, response = ServiceUnavailable),
    ),
)]
pub(crate) async fn handle(
    State(api): State<Api>,
    WithKey(caller): WithKey,
    RunPath(run): RunPath,
    request: Request,
) -> Result<Response, Error> {
    let headers = request.headers();
    let deadline = Deadline::of(request.extensions());
    let key = idempotency::key(headers, &caller)?.map(|key| idempotency::of_retry(key, &caller, run));
    let created = api.service.retry(&caller.app, run, key).await?;
    let (run, replayed) = (created.run.new.id, created.replayed);
    let wait = wait(headers);
    let waiting = Waiting::of(api, caller, deadline);
    Ok(with_headers(waiting.in_background(created, wait).await?, run, replayed))
}

impl From<retry::Error> for Error {
    fn from(error: retry::Error) -> Self {
        match error {
            retry::Error::NotFound => Self::no_run(),
            retry::Error::Invalid(details) => Self::invalid(details),
            retry::Error::Create(error) => error.into(),
        }
    }
}
