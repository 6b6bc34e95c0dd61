//! `POST /v1/runs/{run_id}/cancel`: cancels a run.

use super::{json, run_path::RunPath};
use crate::{
    Api,
    auth::WithKeyOrPublic,
    error::{Error, Forbidden, InternalServerError, NotFound, ServiceUnavailable, Unauthorized},
    wire::Message,
};
use axum::{extract::State, response::Response};
use http::StatusCode;
use runyard_runs::service::cancel;

/// Cancels a run; does nothing to a run that has ended. Within 2 s the run stops and costs nothing more. A body is not
/// needed and not read. Without a key, if the app is public, only runs that were created without one can be canceled.
#[utoipa::path(
    post,
    path = "/v1/runs/{run_id}/cancel",
    operation_id = "cancel_run",
    tag = "runs",
    params(("run_id" = Uuid, Path, description = "The run.")),
    responses(
        (status = 200, description = "The run has ended.", body = Message, example = json!({"message": "canceled"})),
        (status = 401, response = Unauthorized),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
        (status = 500, response = InternalServerError),
        (status = 503, response = ServiceUnavailable),
    ),
)]
pub(crate) async fn handle(
    State(api): State<Api>,
    WithKeyOrPublic(caller): WithKeyOrPublic,
    RunPath(run): RunPath,
) -> Result<Response, Error> {
    match api.service.cancel(&caller.app, run, &caller.actor(None)).await {
        Ok(()) => json(StatusCode::OK, &Message { message: "canceled" }),
        Err(cancel::Error::NotFound) => Err(Error::no_run()),
        Err(cancel::Error::KeyNeeded) => Err(Error::key_needed()),
        Err(cancel::Error::Store(error)) => Err(error.into()),
    }
}
