//! `GET /v1/runs/{run_id}`: returns one run.

use super::{large_json, run_path::RunPath};
use crate::{
    Api,
    auth::WithKeyOrPublic,
    error::{Error, Forbidden, InternalServerError, NotFound, ServiceUnavailable, Unauthorized},
    wire::RunAnswer,
};
use axum::{extract::State, response::Response};
use http::StatusCode;
use runyard_runs::service::get;

/// Returns one run.
#[utoipa::path(
    get,
    path = "/v1/runs/{run_id}",
    operation_id = "get_run",
    tag = "runs",
    params(("run_id" = Uuid, Path, description = "The run.")),
    responses(
        (status = 200, description = "The run.", body = RunAnswer),
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
    let run = api.service.get(&caller.app, run).await?;
    large_json(&api, &caller.app, StatusCode::OK, &RunAnswer { data: (&run).into() })
}

/// `follow` has the same errors.
impl From<get::Error> for Error {
    fn from(error: get::Error) -> Self {
        match error {
            get::Error::NotFound => Self::no_run(),
            get::Error::Store(error) => error.into(),
        }
    }
}
